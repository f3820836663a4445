"""The closed loop in five minutes: `python -m demo`, or `make demo`.

A simulated operator's customers change, the monitoring sees it, a retraining brings a better release, a bad one is
rolled back. All that runs is real and in a temporary folder: the repository, its releases and its MLflow stay as they
are. The chart goes to demo/out/.
"""

import logging
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from churn.script import InputError, run, write_json
from demo.chart import draw, write_page, write_png
from demo.play import Play
from demo.screen import Screen
from demo.story import as_json, closing, row
from demo.workspace import workspace

OUT = Path("demo/out")
# what the demo sets: the simulated operator, and no second retraining while the first one's release is in the shadow
KNOBS = {
    "data.path": "data/raw/customers.csv",
    "data.schema": "schemas/telco.yaml",
    "data.options": {},
    "monitoring.retrain.cooldown": 45,
}


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what was started is ended
    logging.getLogger().setLevel("WARNING")  # the screen speaks
    out, begin = OUT.resolve(), time.monotonic()
    with Screen() as screen, ExitStack() as stack:
        clone = stack.enter_context(workspace(KNOBS))
        screen.head("The closed loop")
        screen.say(f"everything is real, and in {clone.parent}, which is removed in the end; nothing else is touched")
        screen.say(
            "knobs set for it in params.yaml: " + ", ".join(f"{name} {value!r}" for name, value in KNOBS.items())
        )
        play = Play(clone, screen, stack)
        play.run()
        sentences = closing(play.months, play.recovery, play.told)
        chart = draw(play.months, play.recovery, play.told["wrong_auc"])
        write_png(chart, out / "demo.png")
        write_page(chart, play.months, sentences, out / "demo.html")
        write_json(out / "demo.json", as_json(play.months, play.recovery, play.acts, play.told))
        screen.head("In the end")
        screen.table([row(month) for month in play.months])
        for sentence in sentences:
            screen.say(sentence)
        screen.say(f"The chart is {out / 'demo.png'}, and with this table {out / 'demo.html'}.")
        screen.say(f"All of it took {time.monotonic() - begin:.0f} seconds.")


def interrupted() -> None:
    try:
        main()
    except KeyboardInterrupt:
        raise InputError("interrupted; what was started is ended, and its folder removed") from None


if __name__ == "__main__":
    run(interrupted, "demo")
