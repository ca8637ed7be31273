from scorer.library import JobRun as JobRun
from scorer.library import Options as Options
from scorer.library import Result as Result
from scorer.library import open_job as open_job
from scorer.library import score as score

__version__: str
