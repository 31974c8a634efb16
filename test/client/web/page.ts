// What runs in the tests' pages; the tests call it by name (`inPage` of chromium.ts).
import type { TunnelService as Service } from '../../../client/web/index.ts'
import { SCENES, type Stage } from './public-api.ts'

declare const TunnelService: typeof Service
/** Tells the test (playwright's exposeBinding). */
declare const report: (id: string, what: string) => Promise<void>

type Place = Omit<Stage, 'TunnelService'>

let tunnel: Service
let reader: ReadableStreamDefaultReader<Uint8Array>
let ownedAtMs: Promise<number>
const codeOf = (error: unknown) => (error as { code: string }).code

export const functions = {
  play: (name: string, place: Place) => SCENES[name]?.({ TunnelService, ...place }),

  async connect({ url, token }: Place, settings: object = {}): Promise<void> {
    const backoff = { baseMs: 20, maxMs: 200, maxAttempts: 200 }
    tunnel = new TunnelService({ url, token, settings: { backoff, ...settings } })
    await tunnel.connect()
  },

  async refusal({ url, token }: Place): Promise<string> {
    const refused = new TunnelService({ url, token })
    return refused.connect().then(() => 'connected', String)
  },

  status: async (url: string) => (await tunnel.fetch(url)).status,
  forwarded: async (port: number) => (await tunnel.forwardRequest({ machine: 'home', port })).status,
  diagnosis: () => tunnel.runDiagnostics().then(() => 'there', codeOf),
  reconnects: () => tunnel.metrics.snapshot().reconnects,

  async begin(url: string): Promise<void> {
    reader = ((await tunnel.fetch(url)).body as ReadableStream<Uint8Array>).getReader()
  },
  nextPart: async () => new TextDecoder().decode((await reader.read()).value),

  async accepted(port: number, path: string, idempotencyKey: string): Promise<string> {
    const request = { machine: 'home', port, path, method: 'POST', priority: 'high', idempotencyKey } as const
    const queued = tunnel.enqueue({ ...request, idempotent: true })
    await queued.accepted
    return queued.id
  },

  /** The requests that an earlier page has left; they are taken off. */
  async restored({ url, token }: Place, settings: object): Promise<string[]> {
    const next = new TunnelService({ url, token, settings })
    const found: string[] = []
    next.on('restored', (requests) => {
      for (const each of requests) {
        found.push(each.id)
        each.cancel()
      }
    })
    await next.connect()
    await next.disconnect(0)
    return found
  },

  /** Asks for each, and reports 'accepted' and its outcome. */
  ask(port: number, requests: readonly { id: string; isIdempotent: boolean }[]): void {
    for (const { id, isIdempotent: idempotent } of requests) {
      const path = `/count?ms=20&key=${id}`
      const request = { machine: 'home', port, path, method: 'POST', idempotent, idempotencyKey: id }
      const queued = tunnel.enqueue(request)
      queued.accepted.then(
        () => report(id, 'accepted'),
        () => {},
      )
      queued.response.then(
        () => report(id, 'answered'),
        (error: unknown) => report(id, codeOf(error)),
      )
    }
  },

  /** This page in the browser's list of locks. */
  ownLockId: () =>
    navigator.locks.request(`me ${crypto.randomUUID()}`, async (lock) => {
      const { held = [] } = await navigator.locks.query()
      return held.find(({ name }) => name === lock?.name)?.clientId
    }),

  async holderOf(queue: string): Promise<string | undefined> {
    const { held = [] } = await navigator.locks.query()
    return held.find(({ name }) => name === `ssh-websocket-tunnel ${queue}`)?.clientId
  },

  /** From now on it is known when a tab says that it has the queue. */
  watchOwner(queue: string): void {
    const channel = new BroadcastChannel(`ssh-websocket-tunnel ${queue} all`)
    ownedAtMs = new Promise((resolve) => {
      channel.onmessage = () => {
        channel.close()
        resolve(Date.now())
      }
    })
  },
  ownedAtMs: () => ownedAtMs,

  /** What a worker says when it has asked. */
  async askInWorker(script: string, asked: object): Promise<unknown> {
    const worker = new Worker(script, { type: 'module' })
    const said = () =>
      new Promise<unknown>((resolve, reject) => {
        worker.onmessage = ({ data }) => resolve(data)
        worker.onerror = (event) => reject(new Error(event.message))
      })
    await said()
    worker.postMessage(asked)
    return said()
  },

  /** How many requests are on disk. */
  onDisk: (queue: string) =>
    new Promise<number>((resolve, reject) => {
      const opening = indexedDB.open(queue)
      opening.onerror = () => reject(opening.error)
      opening.onsuccess = () => {
        const keys = opening.result.transaction('entries').objectStore('entries').getAllKeys()
        keys.onsuccess = () => {
          opening.result.close()
          resolve(keys.result.filter((key) => String(key).startsWith('r!')).length)
        }
      }
    }),
}

Object.assign(globalThis, { functions })
