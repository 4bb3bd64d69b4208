"""python -m fiftyone_honeyimage demo | protect | draw | stamp | verify | trace | list | check | bundle"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .core.errors import HoneyImageError, ParameterError
from .core.printing import printable
from .version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    _show_every_letter()
    args = _parser().parse_args(arguments)
    try:
        return args.run(args)
    except (HoneyImageError, OSError) as error:
        print(printable(f"{type(error).__name__}: {error}"), file=sys.stderr)
        return 2


def _show_every_letter() -> None:
    """A console that lacks a letter shows its number: what was computed is not lost by printing it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _digest(text: str) -> str:
    """As it was printed or shown, in one piece or two."""
    return "".join(text.split())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fiftyone_honeyimage", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="see it happen, from a dataset to three verdicts")
    demo.add_argument(
        "--dataset", help="a FiftyOne zoo dataset or a folder of class folders; digits by default"
    )
    demo.add_argument("--folder", help="where the files go")
    demo.add_argument("--max-samples", type=int, default=1800)
    demo.add_argument("--epochs", type=int, default=40)
    demo.add_argument("--no-app", action="store_true", help="end without opening the App")
    demo.set_defaults(run=_demo)

    protect = commands.add_parser("protect", help="score, mark and release a dataset")
    protect.add_argument("dataset", help="name of a FiftyOne dataset")
    protect.add_argument("label_field")
    protect.add_argument("honey_key", help="an identifier for the marking")
    protect.add_argument("export_dir", help="a new folder for the release")
    protect.add_argument("--view", help="a saved view to protect instead of the whole dataset")
    protect.add_argument("--proxy", default="wrn28_2")
    protect.add_argument("--epochs", type=int)
    protect.add_argument("--num-pairs", type=int)
    protect.add_argument("--num-honeyimages", type=int)
    protect.add_argument("--hardness-field", default="honey_hardness")
    protect.add_argument("--output-dir", help="a new folder for HoneyImages and ledger")
    protect.add_argument("--seed", type=int, default=51)
    protect.add_argument(
        "--coins", default="local", help="local, or beacon: from public randomness, waited for"
    )
    protect.add_argument(
        "--recipients", nargs="+", default=[], help="a release for each, in folders of these names"
    )
    protect.add_argument("--colluders", type=int, default=2)
    protect.add_argument("--num-tracing-pairs", type=int)
    protect.set_defaults(run=_protect)

    draw = commands.add_parser("draw", help="draw the coins of a marking that waits for its round")
    draw.add_argument("dataset", help="name of a FiftyOne dataset")
    draw.add_argument("honey_key")
    draw.add_argument("--round", help="a file with the round, on a machine without internet")
    draw.set_defaults(run=_draw)

    verify = commands.add_parser("verify", help="verify a suspect model")
    verify.add_argument("dataset", help="name of a FiftyOne dataset")
    verify.add_argument("honey_key")
    verify.add_argument("suspect", help="a TorchScript or ONNX file, or a field with predictions")
    verify.add_argument("--verify-key")
    verify.add_argument("--input-size", type=int)
    verify.add_argument("--mean", type=float, nargs=3)
    verify.add_argument("--std", type=float, nargs=3)
    verify.add_argument("--outputs", default="auto")
    verify.add_argument("--classes", nargs="+")
    verify.add_argument("--channels", default="RGB")
    verify.add_argument(
        "--insist", action="store_true", help="verify a suspect that looks asked in a wrong way"
    )
    verify.add_argument("--evidence", help="write the evidence to this file")
    verify.set_defaults(run=_verify)

    trace = commands.add_parser("trace", help="say whose release a found folder of images is")
    trace.add_argument("dataset", help="name of a FiftyOne dataset")
    trace.add_argument("honey_key")
    trace.add_argument("folder")
    trace.set_defaults(run=_trace)

    listing = commands.add_parser("list", help="list the runs of a dataset")
    listing.add_argument("dataset")
    listing.set_defaults(run=_list)

    check = commands.add_parser("check", help="recompute a verdict from an evidence file alone")
    check.add_argument("evidence")
    check.add_argument(
        "--commitment", type=_digest, help="the commitment that was published before the release"
    )
    check.add_argument("--head", help="a head of the log that was published")
    check.add_argument("--release", help="the folder of the release")
    check.add_argument("--images", help="a folder with the files of the opened images")
    check.add_argument(
        "--markings", type=int, help="so many commitments of this owner for this dataset are known"
    )
    check.add_argument(
        "--roots",
        nargs="+",
        help="files with root certificates of time-stamp authorities, PEM or DER",
    )
    check.set_defaults(run=_check)

    bundle = commands.add_parser(
        "bundle", help="check evidence and put it into a zip with a report and a checker"
    )
    bundle.add_argument("evidence")
    bundle.add_argument("zip", help="a new file")
    bundle.add_argument("--commitment", type=_digest, help="as for check")
    bundle.add_argument("--images", help="the marking's folder, to put the opened images in")
    bundle.add_argument("--roots", nargs="+", help="as for check")
    bundle.add_argument("--no-pdf", action="store_true", help="write the report in HTML alone")
    bundle.set_defaults(run=_bundle)

    stamp = commands.add_parser(
        "stamp", help="have commitment, releases and log dated by time-stamp authorities"
    )
    stamp.add_argument("dataset", help="name of a FiftyOne dataset")
    stamp.add_argument("honey_key")
    stamp.add_argument(
        "--what", nargs="+", default=["commitment", "releases", "head"], help="what is dated"
    )
    stamp.add_argument("--authorities", nargs="+", help="names or addresses of authorities")
    stamp.add_argument("--roots", nargs="+", default=[], help="as for check")
    stamp.set_defaults(run=_stamp)
    return parser


def _demo(args: argparse.Namespace) -> int:
    from .demo import open_app, run_demo

    dataset, _ = run_demo(
        args.dataset, folder=args.folder, max_samples=args.max_samples, epochs=args.epochs
    )
    if not args.no_app:
        open_app(dataset)
    return 0


def _protect(args: argparse.Namespace) -> int:
    from . import compute_hardness, export_release, generate_honeyimages

    for name in args.recipients:
        if Path(name).name != name:
            raise ParameterError(f"recipient {name!r} cannot be the name of a folder; rename it")
    samples = _load(args.dataset)
    if args.view:
        samples = samples.load_saved_view(args.view)
    training = {} if args.epochs is None else {"epochs": args.epochs}
    choice: dict[str, Any] = {"proxy": args.proxy, "training": training, "seed": args.seed}
    if not samples.has_field(args.hardness_field):
        _report(compute_hardness(samples, args.label_field, args.hardness_field, **choice))
    marking = generate_honeyimages(
        samples,
        args.label_field,
        args.honey_key,
        num_pairs=args.num_pairs,
        num_honeyimages=args.num_honeyimages,
        hardness_field=args.hardness_field,
        output_dir=args.output_dir,
        coins=args.coins,
        recipients=args.recipients,
        colluders=args.colluders,
        num_tracing_pairs=args.num_tracing_pairs,
        **choice,
    )
    _say(f"HoneyImages: {marking.output_dir}")
    _report(marking)
    for name in args.recipients or [None]:
        folder = args.export_dir if name is None else Path(args.export_dir, name)
        _report(export_release(samples, args.honey_key, folder, recipient=name))
    return 0


def _draw(args: argparse.Namespace) -> int:
    from . import draw_coins

    _report(draw_coins(_load(args.dataset), args.honey_key, args.round))
    return 0


def _verify(args: argparse.Namespace) -> int:
    from . import export_evidence, verify_model
    from .core.ledger.evidence_file import check_new_evidence

    samples = _load(args.dataset)
    if args.evidence:
        # Before the verification, which is not given back
        check_new_evidence(Path(args.evidence).expanduser())
    verification = verify_model(
        samples,
        args.honey_key,
        args.suspect,
        verify_key=args.verify_key,
        input_size=args.input_size,
        mean=args.mean,
        std=args.std,
        outputs=args.outputs,
        classes=args.classes,
        channels=args.channels,
        insist=args.insist,
    )
    _say(verification)
    # JSON in ASCII holds no control character
    print(json.dumps(verification.verdict.to_dict(), indent=2))
    if args.evidence:
        _say(f"Evidence: {export_evidence(samples, verification.verify_key, args.evidence)}")
    return 0


def _trace(args: argparse.Namespace) -> int:
    from . import trace_copy

    _report(trace_copy(_load(args.dataset), args.honey_key, args.folder))
    return 0


def _stamp(args: argparse.Namespace) -> int:
    from . import stamp

    choice = {} if args.authorities is None else {"authorities": args.authorities}
    report = stamp(_load(args.dataset), args.honey_key, args.what, roots=args.roots, **choice)
    _report(report)
    return 0 if report.stamped or report.already else 1


def _list(args: argparse.Namespace) -> int:
    from . import list_runs

    for run in list_runs(_load(args.dataset)):
        _say(f"{run.kind:<14}{run.key:<32}{run.timestamp:%Y-%m-%d %H:%M}")
    return 0


def _check(args: argparse.Namespace) -> int:
    from .core.ledger.evidence_file import check_evidence

    result = check_evidence(
        args.evidence,
        args.commitment,
        head=args.head,
        release=args.release,
        images=args.images,
        num_markings=args.markings,
        roots=args.roots,
    )
    if result.compared:
        _say(f"compared with what was given: {', '.join(result.compared)}")
    else:
        _say(
            "NOTHING WAS COMPARED with anything that was published: whoever wrote this file could have "
            "made all of it up. Give --commitment, --head, --release, --images, --roots"
        )
    for title, lines in (
        ("holds", result.held),
        ("FAILS", result.failed),
        ("not checked", result.not_checked),
    ):
        for line in lines:
            _say(line, f"{title:<12}")
    for name, value in result.facts:
        _say(value, f"{name:<27} ")
    if result.ok and result.verdict is not None:
        _say(f"{result.verdict.verdict}: {result.verdict.statement}")
    else:
        _say("no verdict: see what FAILS")
    return 0 if result.ok else 1


def _bundle(args: argparse.Namespace) -> int:
    from .core.bundle.bundle import write_bundle

    written = write_bundle(
        args.evidence,
        args.zip,
        images=args.images,
        roots=args.roots,
        commitment=args.commitment,
        pdf=False if args.no_pdf else None,
    )
    _report(written)
    if written.check.verdict is not None:
        _say(f"{written.check.verdict.verdict}: {written.check.verdict.statement}")
    return 0


def _say(text: object, title: str = "") -> None:
    """Prints a line; what comes from a file or a name cannot act on the terminal."""
    print(title + printable(text))


def _report(text: object) -> None:
    for line in str(text).split("\n"):
        print(printable(line, layout=True))


def _load(name: str) -> Any:
    import fiftyone as fo

    from .core.errors import SamplesError

    if name not in fo.list_datasets():
        raise SamplesError(f"there is no dataset '{name}'; there are {fo.list_datasets()}")
    return fo.load_dataset(name)


if __name__ == "__main__":
    sys.exit(main())
