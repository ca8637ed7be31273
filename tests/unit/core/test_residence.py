"""Which model a host goes over to, asked directly: the market's tests show what comes of it."""

import numpy as np

from scorer.core.residence import Prospect, Residence

A, B = 0, 1


def prospect(promise: float) -> Prospect:
    return Prospect(np.array([promise]), np.array([1.0]), left=1000)


def preferred(residence: Residence) -> int:
    """The model of the row that the host likes best, of one row of each."""
    return int(residence.preferred(0, np.array([1.0, 1.0]), np.array([A, B]), [A, B]).argmin())


def decided(promises: dict[int, float]) -> int:
    residence = Residence()
    residence.set_loaded(0, A, load_s=1.0)
    residence.worked(0, 1000.0)
    residence.decide([0], {model: prospect(promise) for model, promise in promises.items()}, slots=1.0)
    return preferred(residence)


def test_a_host_goes_where_most_is_promised() -> None:
    assert decided({A: 1.0, B: 0.1}) == B
    assert decided({A: 0.1, B: 1.0}) == A


def test_a_host_that_could_do_the_rows_of_no_model_stays_as_it_is() -> None:
    assert decided({A: np.inf, B: np.inf}) == A
