import pytest

from scorer.jobs.hosts.check import HostReport, ModelReport, Report
from scorer.jobs.hosts.warm import Warmth
from scorer.show.hosts import check_text, warm_text


@pytest.mark.parametrize("width", range(13))
def test_a_terminal_of_a_few_columns_gets_every_word_all_the_same(width: int) -> None:
    model = ModelReport("m", None)
    away = HostReport("p40", "http://p40:11434", "ollama", "away", usable=False, models=(model,), problem="no answer")
    text = check_text(Report((away,), ("m",)), width)
    assert "p40" in text
    assert "noanswer" in "".join(text.split())
    warmed = warm_text([Warmth("p40", "m", problem="no answer")], width)
    assert "noanswer" in "".join(warmed.split())
