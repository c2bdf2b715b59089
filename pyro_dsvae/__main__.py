"""List the verbs, or run one: ``pyro-dsvae VERB …`` is ``python -m pyro_dsvae.VERB …``."""

import sys
from pathlib import Path

from pyro_dsvae.models.errors import did_you_mean
from pyro_dsvae.process import run_verb

VERBS = {
    "fit": "fit a model and leave a run directory",
    "latents": "use the latents of a run: swap, sample, interpolate, traverse, impute, forecast, encode",
    "explore": "see a run move, in the browser: swaps, latents, samples, interpolation, map, gaps, forecasts",
    "compare": "compare priors on held-out evidence: who is better, by how much, how sure",
    "ppc": "check a run: in which respects its world differs from that of held-out data",
    "evaluate": "judge a run: generation, swaps, probes and scores on held-out sequences",
    "shard": "write data larger than memory as shards, which every command reads",
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
            print(
                f"error: unknown verb {verb!r}{did_you_mean(str(verb), VERBS)}; it is one of {', '.join(VERBS)}",
                file=sys.stderr,
            )
        sys.exit(2 if wrong else 0)
    # As ``python -m`` does: a user's own parts are found in the folder they are in.
    sys.path.insert(0, str(Path.cwd()))
    # The arguments of the process stay: with --devices it is started anew with them.
    run_verb(verb, sys.argv[2:])


if __name__ == "__main__":
    main()
