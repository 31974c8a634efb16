import type { TestContext } from 'node:test'
import {
  type ForwardRequest,
  MemoryStore,
  type TunnelService,
  type TunnelServiceOptions,
} from '../../../client/index.ts'
import type { QueueStore } from '../../../client/queue/store.ts'
import type { TunnelStream } from '../../../protocol/stream/stream.ts'
import { clientOf } from '../proxy.ts'

/** What the program's disk holds at this moment, as a crash leaves it. */
export async function imageOf(store: QueueStore): Promise<MemoryStore> {
  const image = new MemoryStore()
  await image.write((await store.entries('')).map(([key, value]) => ({ key, value })))
  return image
}

/** How many requests the store holds. */
export async function onDisk(store: QueueStore): Promise<number> {
  return (await store.entries('r!')).length
}

export function clientWith(
  t: TestContext,
  url: string,
  store: QueueStore,
  more: Partial<TunnelServiceOptions> = {},
): TunnelService {
  return clientOf(t, url, { ...more, queue: { store: async () => store, ...more.queue } })
}

/** The Idempotency-Key of the request that a stream carries. */
export function keyOf({ head }: TunnelStream): string | undefined {
  return head.http?.headers.find(([name]) => name.toLowerCase() === 'idempotency-key')?.[1]
}

/** A request that is kept on disk unless `more` says otherwise. */
export function high(more: Partial<ForwardRequest> = {}): ForwardRequest {
  return { machine: 'home', method: 'POST', priority: 'high', ...more }
}
