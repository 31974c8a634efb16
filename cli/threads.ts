/** libuv's threads, where its environment does not say otherwise, and those of the programs that look up names for users. */
const THREADS = { usual: 4, ofService: 16 }

/**
 * Gives this process more threads than Node does, unless its environment says how many: half of them may wait for the
 * system's resolver, in the name of users whose names are slow. Of no effect once libuv has begun its threads.
 */
export function wantThreads(): void {
  process.env.UV_THREADPOOL_SIZE ??= String(THREADS.ofService)
}

/** Names of users that may be looked up at once: libuv's half, without one for what this process itself has to look up. */
export function lookupsAtOnce(threads = Number(process.env.UV_THREADPOOL_SIZE) || THREADS.usual): number {
  return Math.max(2, Math.floor((threads + 1) / 2) - 1)
}
