"""The closed loop, month by month: all that it shows is what the real commands and services did."""

import time

import numpy as np

from churn.campaigns import read_lasts
from churn.params import read_knobs
from churn.scorer import Scorer
from churn.script import InputError
from demo.crowd import side
from demo.processes import until
from demo.steps import CUSTOMERS, Steps
from demo.story import Recovery
from demo.world import CHANGED, WORLDS, expected_auc
from monitoring import shadow
from monitoring.ab.report import Design
from monitoring.frames import open_log

WRONG = 600  # customers answered by the bad release before somebody looks: the check wants 500


class Play(Steps):
    """The story."""

    def run(self) -> None:
        say = self.screen.say
        self.begin()
        self.head(1, "a quiet month, and offers to those who are likely to leave")
        self.happens("offers")
        self.ask()
        self.check()
        self.offer("autumn", share=0.8)
        self.next_month("another one; now outcomes of the month before are known")
        self.brought("autumn")
        self.happens("scored as a file; offers to all")
        self.ask(by_file=True)
        self.check()
        self.offer("winter", share=1)
        say("so nobody will know what these customers would have done without one")
        self.next_month("a campaign brings other customers: fibre, no contract, newer, dearer")
        self.happens("input drift: a campaign")
        self.ask()
        self.alert(self.check())
        self.next_month("the campaign is over, but customers begin to leave for other reasons: concept drift")
        self.happens("concept drift begins")
        self.ask()
        self.check()
        say("nobody can know yet: inputs are as ever, and these customers' outcomes come in a month")
        self.next_month("the first outcomes of the new world come in")
        self.happens("outcomes tell")
        self.ask()
        self.alert(self.check())
        self.next_month("the same again, so it is no odd month")
        self.ask()
        self.alert(self.check())
        self.retrained()
        self.next_month("the new release scores in the shadow what the old one answers")
        self.happens("in the shadow")
        self.ask()
        self.alert(self.check())
        self.next_month("the shadow has proved itself")
        self.promote()
        self.ask()
        self.check()
        self.add_to_store()
        self.next_month("a colleague puts out a release of last year's customers without a long contract")
        self.ask(CUSTOMERS - WRONG)
        self.check()
        self.force_through()
        self.next_month("all is well again")
        self.ask()
        self.check()
        self.pass_month()
        self.end()

    def retrained(self) -> None:
        state = self.store.state()
        if not state["shadow"]:
            raise InputError("no retraining came of two breaches in a row")
        act = next(act for act in reversed(self.store.history()) if act["act"] == "add")
        lineage = act["lineage"]
        self.retrained_version = state["shadow"]
        self.months[-1].events.append("retrained")
        self.screen.step("gate")
        gate = next(act["gate"] for act in reversed(self.store.history()) if act["act"] == "shadow")
        self.show_gate(gate)
        self.screen.step("shadow")
        self.screen.say(
            f"retrained in {self.told['retraining']:.0f} s on {lineage['customers']:,} customers of production, "
            f"the table before {lineage['table']}; branch {lineage['branch']}"
        )
        self.service.wait_for(self.retrained_version, "shadow")
        self.show_roles()

    def promote(self) -> None:
        self.screen.step("shadow", "monitoring.shadow")
        design, trial = read_knobs("ab", Design), shadow.running(self.store.history())
        with open_log() as connection:
            pairs = shadow.read_pairs(connection, trial, read_lasts())
        outcomes = shadow.report(trial, *pairs, self.profit, design.resamples, design.seed).outcomes
        self.months[-1].realised = outcomes.roc_auc_answered
        self.screen.say(
            f"monitoring.shadow: {outcomes.labelled:,} outcomes; ROC AUC {outcomes.roc_auc_shadow.value:.3f} against "
            f"the answers' {outcomes.roc_auc_answered.value:.3f}, profit "
            f"{outcomes.profit_per_customer_shadow.value:.2f} against {outcomes.profit_per_customer_answered.value:.2f}"
        )
        self.screen.step("gate", "POST /admin/promote")
        status, answer = self.service.post(
            "/admin/promote", {"version": self.retrained_version, "reason": "right more often in the shadow"}
        )
        if status != 200:
            raise InputError(f"the promotion was refused: {answer}")
        self.show_gate(answer["gate"])
        self.screen.step("promote")
        self.service.wait_for(self.retrained_version)
        self.screen.say(f"{self.retrained_version} is champion", "green")
        self.happens("promoted")
        self.promoted = len(self.months) + 1
        self.show_roles()

    def add_to_store(self) -> None:
        """In the store before the outcomes come, by which the gate will judge it."""
        self.screen.step("train", "a colleague trains")
        until(lambda: self.aside.poll() is not None, 300)
        if self.aside.returncode:
            raise InputError(
                f"a training beside the story failed: {(self.clone.parent / 'aside.log').read_text()[-500:]}"
            )
        bundle = self.beside / "wrong/models/release"
        self.wrong = self.store.add(bundle, "last year's customers without a long contract", "a colleague")

    def force_through(self) -> None:
        self.screen.step("gate", "POST /admin/promote")
        act = {"version": self.wrong, "reason": "it was so good on last year's customers"}
        status, answer = self.service.post("/admin/promote", act)
        if status != 409:
            raise InputError(f"the gate lets the bad release pass: {answer}")
        self.screen.say(f"the gate says no to {self.wrong}:", "yellow")
        self.screen.say(f"  {answer['detail']}")
        self.screen.step("promote", "POST /admin/promote, forced")
        self.service.post("/admin/promote", act | {"force": True})
        self.service.wait_for(self.wrong)
        self.screen.say("forced past it; the ledger keeps that", "bold red")
        self.months[-1].events.append("bad release")
        self.show_roles()
        self.screen.step("ask", "POST /predict/batch")
        before = len(self.crowds[-1].answered)
        now, crowd = self.months[-1], self.crowds[-1]
        now.answered, now.without = self.answer(WRONG)
        now.customers = len(crowd.answered)
        wrong = expected_auc(crowd.chance[before:], side(crowd.answered[before:]).p)
        self.told |= {"wrong_answers": WRONG, "wrong_auc": wrong}
        self.screen.say(f"it answers {WRONG} customers; true ROC AUC {wrong:.3f}")
        checked = self.check()
        if checked.verdict != "breach":
            raise InputError(f"the check does not see the bad release: {checked.reasons}")
        self.roll_back()

    def roll_back(self) -> None:
        self.screen.step("roll back", "POST /admin/rollback")
        customer = self.crowds[-1].customers[-1]
        begin = time.monotonic()
        status, answer = self.service.post("/admin/rollback", {"reason": "the check found a breach"})
        if status != 200:
            raise InputError(f"the rollback was refused: {answer}")
        until(lambda: self.service.ask([customer])[0]["model_version"] == self.retrained_version, 60)
        self.told["rollback"] = time.monotonic() - begin
        self.months[-1].events.append("rolled back")
        self.screen.say(
            f"POST /admin/rollback: {self.retrained_version} answers again, {self.told['rollback']:.2f} s after",
            "green",
        )
        self.show_roles()

    def end(self) -> None:
        """The recovery, on the customers of the months after the promotion."""
        after = [crowd for crowd, now in zip(self.crowds, self.months, strict=True) if now.number >= self.promoted]
        customers = [customer for crowd in after for customer in crowd.customers]
        chance = np.concatenate([crowd.chance for crowd in after])
        plenty = self.beside / "plenty/models/release"
        bundles = self.first.release.folder, self.store.bundle(self.retrained_version), plenty
        self.recovery = Recovery(*(expected_auc(chance, Scorer.open(b).probabilities(customers)) for b in bundles))
        self.acts = [{key: act[key] for key in ("act", "who", "version", "reason")} for act in self.store.history()]
        self.told["months_lost"] = self.promoted - WORLDS.index(CHANGED) - 1
