import threading
from pathlib import Path

import anyio

from scorer.dispatch.seams import free_bytes, production


def test_blocking_calls_run_in_a_thread_one_at_a_time() -> None:
    running, most, threads = 0, 0, set()
    lock = threading.Lock()

    def call(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threads.add(threading.current_thread())
        with lock:
            running -= 1
        return number

    async def main() -> list[int]:
        seams, results = production(), []

        async def one(number: int) -> None:
            results.append(await seams.store(call, number))

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(one, number)
        return results

    assert sorted(anyio.run(main)) == list(range(20))
    assert most == 1
    assert threading.main_thread() not in threads


def test_the_free_space_is_that_of_the_folder(tmp_path: Path) -> None:
    assert free_bytes(tmp_path) > 0
