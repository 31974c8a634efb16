import type { Redis } from 'ioredis'

/** A loop that stood still for longer makes timers fire before what has come meanwhile is read, in ms. */
const STILL_MS = 500
/** How often that is looked at, in ms. */
const LOOK_MS = 50
const TRIES = 5

/**
 * Connects. ioredis gives up what is late, and what it calls late may have been here in time: a program that starts has
 * much to do in one turn of its event loop. Such an attempt says nothing of Redis, and the next one counts.
 * @param again called before each further attempt
 */
export async function connectPatiently(redis: Redis, again: () => void): Promise<void> {
  let attempt = redis.connect()
  for (let tries = 1; ; tries++) {
    const loop = watchLoop()
    try {
      return await attempt
    } catch (error) {
      const isTriedAgain = loop.stillMs() >= STILL_MS && redis.status === 'reconnecting'
      if (!isTriedAgain || tries === TRIES) throw error
      again()
      attempt = nextAttempt(redis)
    } finally {
      loop.stop()
    }
  }
}

/** What becomes of the attempt that ioredis makes by itself. */
function nextAttempt(redis: Redis): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      redis.off('ready', stand).off('close', fail)
    }
    const stand = (): void => {
      settle()
      resolve()
    }
    const fail = (): void => {
      settle()
      reject(new Error('Connection is closed.'))
    }
    redis.on('ready', stand).on('close', fail)
  })
}

/** Measures for how long the event loop stands still at most. */
function watchLoop(): { stillMs(): number; stop(): void } {
  let lookedAtMs = performance.now()
  let mostMs = 0
  const look = (): number => {
    const nowMs = performance.now()
    mostMs = Math.max(mostMs, nowMs - lookedAtMs - LOOK_MS)
    lookedAtMs = nowMs
    return mostMs
  }
  const timer = setInterval(look, LOOK_MS).unref()
  return { stillMs: look, stop: () => clearInterval(timer) }
}
