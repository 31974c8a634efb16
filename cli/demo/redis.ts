import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { LocalError } from '../failure.ts'
import { findProgram } from '../find-program.ts'
import { freePort } from './ssh-server.ts'
import { lineOf, type Stage } from './stage.ts'

/** @throws {LocalError} REDIS_MISSING: replicas share what they know in a real Redis or not at all */
export function redisProgram(): string {
  const program = findProgram('redis-server')
  if (program !== undefined) return program
  throw new LocalError(
    'REDIS_MISSING',
    'several replicas need Redis, and redis-server is not installed',
    'install it (apt-get install redis-server; brew install redis), or run `tunnel demo`, which needs none',
  )
}

/** A Redis that keeps nothing on disk and lets nobody else in. */
export async function startRedis(stage: Stage, program: string): Promise<{ url: string; port: number }> {
  const port = await freePort()
  const password = randomBytes(24).toString('hex')
  // In a file: everybody on this computer can read the arguments of a process.
  const file = stage.path('redis.conf')
  const lines = [
    ...[`port ${port}`, 'bind 127.0.0.1', 'save ""', 'appendonly no'],
    ...[`dir ${stage.folder}`, `requirepass ${password}`],
  ]
  writeFileSync(file, `${lines.join('\n')}\n`, { mode: 0o600 })
  const redis = stage.spawn(program, [file])
  await lineOf(redis, /Ready to accept connections/, 'redis-server')
  return { url: `redis://:${password}@127.0.0.1:${port}/0`, port }
}
