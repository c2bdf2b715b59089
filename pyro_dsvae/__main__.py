"""List the verbs, or run one: ``pyro-dsvae VERB …`` is ``python -m pyro_dsvae.VERB …``."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

VERBS = {
    "fit": "fit a model and leave a run directory",
    "latents": "use the latents of a run: swap, sample, interpolate, traverse, impute, forecast, encode",
    "compare": "compare priors on held-out evidence: who is better, by how much, how sure",
    "ppc": "check a run: in which respects its world differs from that of held-out data",
    "evaluate": "judge a run: generation, swaps, probes and scores on held-out sequences",
}


def main() -> None:
    """The console command."""
    verb = sys.argv[1] if len(sys.argv) > 1 else None
    if verb not in VERBS:
        wrong = verb is not None and verb not in ("-h", "--help")
        print("usage: python -m pyro_dsvae.VERB … or pyro-dsvae VERB …   (VERB --help is its manual)\n")
        for name, what in VERBS.items():
            print(f"  {name:10}{what}")
        if wrong:
            print(f"error: unknown verb {verb!r}; it is one of {', '.join(VERBS)}", file=sys.stderr)
        sys.exit(2 if wrong else 0)
    from pyro_dsvae import cli

    def run(arguments: Sequence[str]) -> int:
        # Imported here, so that Ctrl-C during the seconds that it takes is answered like any other.
        return int(import_module(f"pyro_dsvae.{verb}").main(arguments))

    del sys.argv[1]
    # As ``python -m`` does: a user's own parts are found in the folder they are in.
    sys.path.insert(0, str(Path.cwd()))
    cli.main(run)


if __name__ == "__main__":
    main()
