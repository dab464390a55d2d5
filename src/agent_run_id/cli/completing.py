"""``runid completion``: what a shell needs to complete commands, options and their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from agent_run_id.cli.output import Output

if TYPE_CHECKING:
    from cyclopts import App

__all__ = ["completion"]

_Shell = Annotated[Literal["bash", "zsh", "fish"], Parameter(help="The shell it is for.")]


def completion(shell: _Shell, /) -> None:
    """Print what makes a shell complete runid.

    For bash, in ~/.bashrc: eval "$(runid completion bash)". For zsh, as a file _runid in a directory of $fpath. For
    fish: runid completion fish > ~/.config/fish/completions/runid.fish
    """
    from agent_run_id.cli.app import application

    app: App = application()
    Output().write(app.generate_completion(shell=shell))
