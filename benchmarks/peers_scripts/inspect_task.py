"""inspect-ai: one task on one address. Killed, `eval_retry` goes on from the log of the attempt before."""

from pathlib import Path

from inspect_ai import Task, eval, eval_retry, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import list_eval_logs
from inspect_ai.model import ChatMessageSystem, ChatMessageUser, GenerateConfig, get_model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import TaskState, generate
from job import checked, finished, told


@scorer(metrics=[mean()])
def quality() -> Scorer:
    """Take the score out of the answer."""

    async def score(state: TaskState, target: Target) -> Score:
        fields = checked(state.output.completion)
        return Score(value=fields["score"], explanation=fields["reason"])

    return score


@task
def grade() -> Task:
    """Ask about every row."""
    samples = [
        Sample(id=row, input=[ChatMessageSystem(content=a["content"]), ChatMessageUser(content=b["content"])])
        for row, (a, b) in enumerate(told().messages())
    ]
    return Task(dataset=MemoryDataset(samples), solver=generate(), scorer=quality())


if __name__ == "__main__":
    job = told()
    logs = str(Path(job.folder) / "logs")
    # twice as many samples as connections, so that one is ready whenever a connection is
    limits = {"max_samples": 2 * job.in_flight, "max_connections": job.in_flight, "log_dir": logs, "display": "none"}
    model = get_model(
        f"openai-api/bench/{job.model}",
        base_url=f"{job.urls[0]}/v1",
        api_key="none",
        config=GenerateConfig(max_tokens=job.num_predict, temperature=0),
    )
    begun = list_eval_logs(logs) if Path(logs).is_dir() else []
    [log] = eval_retry(begun[0], **limits) if begun else eval(grade(), model=model, **limits)
    finished((int(sample.id), score.value) for sample in log.samples or [] for score in (sample.scores or {}).values())
