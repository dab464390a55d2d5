"""A crash harness: kills writers at random instants while readers read, and then checks the books.

    python -m tests.crash --kills 5000

`rounds` starts writers of every kind, kills them and hears what they acknowledge; `template` is the small process they
are forked from; `writers` is what they do and `readers` what is asked meanwhile; `books` reads the journals without the
library and compares. `sabotage` breaks the library inside a writer, to show that the harness would notice.
"""
