import type { TunnelError } from '../protocol/codec/errors.ts'
import type { StreamOpener } from '../protocol/stream/opener.ts'
import type { Hooks } from './hooks.ts'
import type { ClientMetrics } from './metrics/collector.ts'
import type { ClientSettings } from './options.ts'
import type { Platform } from './platform.ts'
import { Forwarding } from './queue/forwarding.ts'
import type { RequestKeeper } from './queue/keeper.ts'
import { RequestQueue } from './queue/request-queue.ts'
import type { RequestPath } from './request.ts'
import type { TunnelEvents, TunnelServiceOptions } from './tunnel-options.ts'

/** What is made of a client's settings, once they are known. */
export interface Parts {
  settings: ClientSettings
  queue: RequestQueue
  path: RequestPath
  /** Absent where nothing is kept on disk. */
  kept: RequestKeeper | undefined
  forwarding: Forwarding
}

/** What the parts need of the client. */
export interface PartsOwner {
  metrics: ClientMetrics
  hooks: Hooks
  /** @throws {TunnelError} while there is none */
  opener(): StreamOpener
  /** As RequestPath has it. */
  final(error: TunnelError): boolean
  emit<Name extends keyof TunnelEvents>(name: Name, ...args: TunnelEvents[Name]): void
}

/** @throws {TunnelError} CONFIG_INVALID */
export async function makeParts(
  options: TunnelServiceOptions,
  platform: Platform,
  owner: PartsOwner,
): Promise<Parts> {
  const settings =
    options.resolvedSettings ?? (await platform.loadSettings(options.profile, options.settings))
  const queue = new RequestQueue(settings.queue)
  owner.metrics.watchQueue(() => queue.sizes)
  queue.on('backpressure', (state) => owner.emit('backpressure', state))
  queue.on('drain', (state) => owner.emit('drain', state))
  const path: RequestPath = {
    clock: platform.clock,
    queue,
    metrics: owner.metrics,
    hooks: owner.hooks,
    open: (head, first, ends) => owner.opener().open(head, first, ends),
    final: (error) => owner.final(error),
  }
  const { dir, persist } = settings.queue
  const isKept = (dir !== '' || options.queue?.store !== undefined) && persist !== 'none'
  const kept = isKept ? await platform.keepRequests(path, settings, options.queue ?? {}) : undefined
  kept?.on('restored', (requests) => owner.emit('restored', requests))
  kept?.on('set-aside', (entries) => owner.emit('set-aside', entries))
  kept?.on('error', (error) => owner.emit('error', error))
  return { settings, queue, path, kept, forwarding: new Forwarding(path, settings, kept) }
}

/** Begins with what is kept. Where another program has the folder the client works without it, and says so. */
export async function startKept({ kept }: Parts, tell: (error: TunnelError) => void): Promise<void> {
  try {
    await kept?.start()
  } catch (error) {
    if ((error as TunnelError).code !== 'QUEUE_LOCKED') throw error
    tell(error as TunnelError)
  }
}
