"""flexllm's batch over its pool of endpoints, which pull from one queue. JSON Lines out; killed, it goes on."""

import asyncio
from pathlib import Path

from flexllm import LLMClient
from job import checked, finished, told


async def main() -> None:
    """Ask for every row."""
    job = told()
    endpoints = [
        {"base_url": f"{url}/v1", "model": job.model, "api_key": "none", "concurrency_limit": job.slots}
        for url in job.urls
    ]
    async with LLMClient(endpoints=endpoints, max_qps=1_000_000) as client:
        results = await client.chat_batch(
            job.messages(),
            output_jsonl=str(Path(job.folder) / "out.jsonl"),
            show_progress=False,
            max_tokens=job.num_predict,
            temperature=0,
        )
    finished([(row, checked(result.content)["score"]) for row, result in enumerate(results) if result.ok])


asyncio.run(main())
