"""Bespoke Curator over LiteLLM: it takes one address. Killed, it goes on from its cache. JSON Lines and Arrow out."""

from pathlib import Path

from bespokelabs import curator
from datasets import load_dataset
from job import checked, finished, told


class Scorer(curator.LLM):
    """Asks about a row and keeps the fields of the answer."""

    def prompt(self, input: dict[str, str]) -> list[dict[str, str]]:
        """Return the prompt, ready made."""
        return [{"role": "system", "content": input["system"]}, {"role": "user", "content": input["user"]}]

    def parse(self, input: dict[str, str], response: str) -> dict[str, object]:
        """Check the answer."""
        return {"row": input["row"], **checked(response)}


if __name__ == "__main__":
    job = told()
    rows = load_dataset("json", data_files=job.prompts, split="train")
    llm = Scorer(
        model_name=f"openai/{job.model}",
        backend="litellm",
        generation_params={"max_tokens": job.num_predict, "temperature": 0},
        backend_params={
            "base_url": f"{job.urls[0]}/v1",
            "max_concurrent_requests": job.in_flight,
            "max_requests_per_minute": 10_000_000,
            "max_tokens_per_minute": 100_000_000_000,
        },
    )
    answered = llm(rows, working_dir=str(Path(job.folder) / "curator"))
    finished((row["row"], row["score"]) for row in answered.dataset)
