"""See a run move, in the browser: swap clips, move latents, sample, interpolate, fill in, forecast.

  python -m pyro_dsvae.explore                        the run that comes with the package
  python -m pyro_dsvae.explore RUN                    a run of your own
  python -m pyro_dsvae.explore RUN --compare OUT      with a finished comparison as its first page
  python -m pyro_dsvae.explore RUN --export page.html     one file with swaps, interpolations and the map; needs no server

Needs pip install 'pyro-dsvae[explore]'. The page is served on this machine alone, under an address that cannot be guessed, and
loads nothing from elsewhere. Clips of your own (npz, GIF, PNG strip, mp4, at most 16 MB) can be dropped on it; they are read
and not kept. Prints the address as open: URL. Ctrl-C or SIGTERM ends it, with status 0.
"""

if __name__ == "__main__":
    # Before the imports, which take seconds: a request to stop is answered at any moment.
    from pyro_dsvae.process import run_verb

    run_verb("explore")

from collections.abc import Sequence
from pathlib import Path

from pyro_dsvae import cli
from pyro_dsvae.actions.selection import Source
from pyro_dsvae.data.dataset import Split
from pyro_dsvae.data.tables.reading import needed
from pyro_dsvae.loading import load
from pyro_dsvae.models.errors import UsageError
from pyro_dsvae.runs.output_folder import check_free

__all__ = ["explore"]


def explore(
    run: Path = Path("sprites"),
    split: Split = "validation",
    port: int = 0,
    no_browser: bool = False,
    compare: Path | None = None,
    export: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Serve the page of a run until the process is asked to stop, or write it as one file.

    Args:
        run: the run directory; by default the run that comes with the package
        split: of the data, whose clips are offered
        port: where the page is served; 0 for a port that is free
        no_browser: print the address without opening it
        compare: the folder of a finished comparison
        export: write swaps, interpolations and the map to this HTML file instead, without a comparison
        overwrite: replace what is at --export

    Raises:
        UsageError: For anything the caller can put right.

    Example:
        >>> from pathlib import Path
        >>> from pyro_dsvae.explore import explore
        >>> explore(Path("runs/clips"), export=Path("page.html"))
        >>> Path("page.html").exists()
        True
    """
    if not 0 <= port < 65536:
        raise UsageError(f"port is {port}; it is a number from 1 to 65535, or 0 for one that is free")
    if export is not None and compare is not None:
        raise UsageError("the file of --export holds no comparison; leave out --compare, or leave out --export")
    if export is not None and (port or no_browser):
        raise UsageError("--export writes a file and serves no page; leave out --port and --no-browser, or --export")
    if overwrite and export is None:
        raise UsageError("--overwrite is of the file of --export; leave it out, or name the file with --export")
    needed("panel", "explore", "the page")
    if export is not None:
        check_free(export, overwrite, "--export")
    source = Source(load(run), split)
    # Panel takes two seconds to import, which the manual need not cost.
    from pyro_dsvae.explorer.export import write_page
    from pyro_dsvae.explorer.library import Library
    from pyro_dsvae.explorer.page import page, report_of
    from pyro_dsvae.explorer.pages.comparison import read_comparison
    from pyro_dsvae.explorer.server import serve

    compared = None if compare is None else read_comparison(compare)
    library = Library(source)
    if not len(library.codes):
        raise UsageError(f"the {split} split has no clips")
    if export is not None:
        write_page(library, export)
        return
    title = f"{source.run.path.name} · pyro_dsvae"
    serve(lambda: page(library, compared), title, report_of(library), port, not no_browser)


def main(arguments: Sequence[str]) -> int:
    """The command."""
    parser = cli.parser_for(explore, __doc__)
    parser.add_argument("RUN", nargs="?", help="the run directory; by default the run that comes with the package")
    dashed = ["--no_browser" if argument == "--no-browser" else argument for argument in arguments]
    values = cli.values(parser, cli.bare_flags(dashed, "--no_browser", "--overwrite"))
    if (named := values.pop("RUN")) is not None:
        values["run"] = Path(named)
    explore(**values)
    if values["export"] is not None:
        print(f"wrote: {values['export']}")
    return 0
