"""distilabel with OllamaLLM, in large batches: it waits for the end of each before it begins the next."""

from pathlib import Path

from datasets import load_dataset
from distilabel.models import OllamaLLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration
from job import checked, finished, told

BATCH = 300

if __name__ == "__main__":
    job = told()
    rows = load_dataset("json", data_files=job.prompts, split="train").rename_columns(
        {"system": "system_prompt", "user": "instruction"}
    )
    options = {"num_predict": job.num_predict, "temperature": 0, "num_ctx": job.num_ctx}
    with Pipeline(name="peers", cache_dir=str(Path(job.folder) / "distilabel")) as pipeline:
        load = LoadDataFromDicts(name="load", data=rows.to_list(), batch_size=BATCH)
        ask = TextGeneration(
            name="ask",
            llm=OllamaLLM(model=job.model, host=job.urls[0], generation_kwargs={"options": options}),
            input_batch_size=BATCH,
            add_raw_input=False,
            add_raw_output=False,
        )
        load >> ask
    answered = pipeline.run(use_cache=True)
    texts = [(row["row"], row["generation"]) for part in answered["default"].values() for row in part]
    finished([(row, checked(text)["score"]) for row, text in texts if text is not None])
