"""litellm.Router in a loop: it chooses the least busy host and keeps neither queue nor results; the loop is ours."""

import asyncio
import json
from pathlib import Path

import litellm
from job import checked, finished, told


async def main() -> None:
    """Ask for every row."""
    job = told()
    litellm.telemetry = False
    hosts = [
        {
            "model_name": "any",
            "litellm_params": {
                "model": f"openai/{job.model}",
                "api_base": f"{url}/v1",
                "api_key": "none",
            },
        }
        for url in job.urls
    ]
    router = litellm.Router(model_list=hosts, routing_strategy="least-busy", num_retries=2)
    waiting = iter(enumerate(job.messages()))
    done: list[tuple[int, object]] = []
    with (Path(job.folder) / "out.jsonl").open("w") as out:

        async def ask() -> None:
            for row, messages in waiting:
                answer = await router.acompletion("any", messages, max_tokens=job.num_predict, temperature=0)
                fields = checked(answer.choices[0].message.content)
                out.write(json.dumps({"row": row, **fields}) + "\n")
                done.append((row, fields["score"]))

        await asyncio.gather(*(ask() for _ in range(job.in_flight)))
    finished(done)


asyncio.run(main())
