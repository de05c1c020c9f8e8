"""The trials of a search in an SQLite file, as Optuna keeps them: any number of workers draw from the same search.

Optuna's sampler sees a trial that waits at a rung as one that was pruned there, and its score at that rung. In the file
the trial stays "running" until it has trained to the end, as it may be promoted; `optuna-dashboard` can show the file.
One worker at a time draws and writes, under a lock of our own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_kit.config.settings import Value
from fer_kit.errors import FerKitError, first_line
from fer_kit.files import lock
from fer_kit.sweep.search.halving import Standing
from fer_kit.sweep.search.space import Space

if TYPE_CHECKING:
    from optuna import Study

INSTALL = "pip install 'fer_kit[search]' (or pip install optuna)"
DATABASE, STUDY = "trials.db", "search"
PATIENCE_SECONDS = 60.0  # for another worker that draws a trial
DATABASE_SECONDS = 10.0  # for another program that has locked the file

Params = Mapping[str, Value]


class BusyError(FerKitError):
    """The file is locked by another program; the next try may succeed."""


def need_optuna() -> None:
    """Raise FerKitError, with the way to install Optuna, unless it can be imported."""
    try:
        import optuna
    except ImportError as error:
        raise FerKitError(f"--search needs Optuna ({first_line(error)}); install it: {INSTALL}") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)


class Store:
    """The trials in `folder`; see the module."""

    def __init__(self, folder: Path, space: Space) -> None:
        self._path, self._space = folder / DATABASE, space
        self._study: Study | None = None
        self._told: dict[int, Standing] = {}

    def params(self) -> list[Params]:
        """The settings of each trial that has been drawn; the place in the list is the trial's number.

        Raises:
            FerKitError: the file is locked (`BusyError`), or not a file of trials.
        """
        if not self._path.exists():
            return []
        with self._errors():
            return [dict(trial.params) for trial in self._opened().get_trials(deepcopy=False)]

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Only one worker at a time is inside.

        Raises:
            BusyError: another worker stays inside for a minute.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(lock.held(self._path, "another worker draws a trial", PATIENCE_SECONDS))
            except FerKitError as error:
                raise BusyError(str(error)) from None
            yield

    def add(self, params: Params) -> None:
        """Add a trial; only inside of `drawing`."""
        from optuna.trial import TrialState, create_trial

        distributions = {name: one.distribution() for name, one in self._space.items()}
        trial = create_trial(state=TrialState.RUNNING, params=dict(params), distributions=distributions)
        with self._errors():
            self._opened().add_trial(trial)

    def sample(self, known: Sequence[tuple[Params, Standing]], rungs: Sequence[int]) -> Params:
        """Settings for the next trial, by Optuna's TPE. The same `known` trials give the same settings."""
        import optuna
        from optuna.trial import TrialState, create_trial

        distributions = {name: one.distribution() for name, one in self._space.items()}
        sampler = optuna.samplers.TPESampler(seed=len(known))
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for params, standing in known:
            scores = dict(zip(rungs, standing.scores, strict=False))
            state, value = TrialState.PRUNED, None
            if len(scores) == len(rungs):
                state, value = TrialState.COMPLETE, standing.scores[-1]
            elif not scores and not standing.failed:
                state = TrialState.RUNNING
            trial = create_trial(
                state=state,
                value=value,
                params=dict(params),
                distributions=distributions,
                intermediate_values=scores,
            )
            study.add_trial(trial)
        drawn = study.ask(distributions).params
        return {name: self._space[name].rounded(value) for name, value in drawn.items()}

    def record(self, standings: Sequence[Standing], rungs: Sequence[int]) -> None:
        """Write the scores that the file lacks; only inside of `drawing`."""
        from optuna.trial import TrialState

        new = [one for one in standings if one.scores and self._told.get(one.number) != one]
        if not new:
            return
        with self._errors():
            study = self._opened()
            trials = study.get_trials(deepcopy=False)
            for one in new:
                trial = trials[one.number]
                if trial.state == TrialState.RUNNING:
                    for rung, score in zip(rungs, one.scores, strict=False):
                        if trial.intermediate_values.get(rung) != score:
                            study._storage.set_trial_intermediate_value(trial._trial_id, rung, score)
                    if len(one.scores) == len(rungs):
                        study.tell(one.number, one.scores[-1])
                self._told[one.number] = one

    def _opened(self) -> Study:
        if self._study is None:
            import optuna

            options = {"connect_args": {"timeout": DATABASE_SECONDS}}
            storage = optuna.storages.RDBStorage(f"sqlite:///{self._path.resolve()}", engine_kwargs=options)
            self._study = optuna.create_study(
                storage=storage, study_name=STUDY, direction="maximize", load_if_exists=True
            )
        return self._study

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Errors of Optuna and SQLAlchemy as FerKitErrors."""
        from optuna.exceptions import OptunaError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (OptunaError, SQLAlchemyError) as error:
            reasons: list[Any] = [error]
            while (cause := reasons[-1].__cause__ or reasons[-1].__context__) is not None:
                reasons.append(cause)
            if any("locked" in str(reason) for reason in reasons):
                raise BusyError(
                    f"{self._path}: locked by another program for {DATABASE_SECONDS:.0f} s; close that program, and "
                    "give the same command again"
                ) from None
            raise FerKitError(
                f"{self._path}: not a readable file of trials ({first_line(reasons[-1])}); restore the file, or search "
                "under another --name"
            ) from None
