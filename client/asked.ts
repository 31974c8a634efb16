import { PRIORITIES, type Priority } from '../protocol/codec/heads.ts'
import { configInvalid } from './queue/errors.ts'
import type { TunnelServiceOptions } from './tunnel-options.ts'

// Types do not reach plain JavaScript. What it says wrongly is told of here, before the proxy takes it for a fault of the
// protocol, or nobody notices it.

const OPTIONS: Record<keyof TunnelServiceOptions, 1> = {
  url: 1,
  token: 1,
  profile: 1,
  settings: 1,
  resolvedSettings: 1,
  retryFirst: 1,
  queue: 1,
  platform: 1,
}
const QUEUE_OPTIONS: Record<keyof NonNullable<TunnelServiceOptions['queue']>, 1> = {
  store: 1,
  encryptionKey: 1,
  credentials: 1,
}

/** A `queue.dir` in the wrong place would keep nothing, without a word. @throws {TunnelError} CONFIG_INVALID */
export function checkOptions(options: TunnelServiceOptions): void {
  for (const name of Object.keys(options))
    if (!(name in OPTIONS)) throw configInvalid(`${name}: there is no such option`)
  for (const name of Object.keys(options.queue ?? {}))
    if (!(name in QUEUE_OPTIONS))
      throw configInvalid(`queue.${name}: there is no such option; settings are in settings.queue`)
}

/** What every stream is asked with. */
export interface Asked {
  machine: string
  priority?: Priority | undefined
  timeoutMs: number
}

/** @throws {TunnelError} CONFIG_INVALID */
export function checkAsked({ machine, priority = 'normal', timeoutMs }: Asked): void {
  if (typeof machine !== 'string' || machine === '') throw configInvalid('machine: is not a name')
  if (!PRIORITIES.includes(priority))
    throw configInvalid(`priority = ${JSON.stringify(priority)}: is high, normal or low`)
  // Not a number is not above 0 either.
  if (typeof timeoutMs !== 'number' || !(timeoutMs > 0))
    throw configInvalid(`timeoutMs = ${timeoutMs}: is not a number of milliseconds above 0`)
}
