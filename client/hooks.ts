import type { Clock } from '../protocol/clock.ts'
import { asTunnelError, TunnelError } from '../protocol/codec/errors.ts'
import type { HeaderList, Priority } from '../protocol/codec/heads.ts'
import { inTime } from '../protocol/in-time.ts'
import type { TunnelStatus } from './status.ts'

/** A request that is about to be sent. */
export interface RequestContext {
  readonly machine: string
  /** `host:port` on the machine's side. */
  readonly target: string
  readonly method: string
  /** Path and query. */
  readonly path: string
  readonly priority: Priority
  /** Which try it is, from 1. */
  readonly attempt: number
  /** May be changed: what is put here is sent, and never kept on disk. */
  headers: HeaderList
}

/** How a request ended: with a response head, or with an error. */
export interface ResponseContext {
  readonly machine: string
  readonly method: string
  readonly path: string
  /** From when it was asked for, its waits included, in ms. */
  readonly latencyMs: number
  readonly status?: number
  readonly headers?: HeaderList
  readonly error?: TunnelError
}

export interface ClientHooks {
  /** Awaited before each try of a request; what it throws ends the request. */
  onRequest: (request: RequestContext) => void | Promise<void>
  /** Told of each response head, and of each request that ends without one; nothing waits for it. */
  onResponse: (response: ResponseContext) => void | Promise<void>
  /** Told of each change of state, in order, one after the other; nothing waits for it. */
  onStateChange: (status: TunnelStatus, before: TunnelStatus) => void | Promise<void>
}

export type HookName = keyof ClientHooks

/** How long one hook may take, in ms. */
const HOOK_MS = 5_000
/** Changes and responses that wait for slow hooks; more are told to nobody, and that is an error. */
const MAX_WAITING = 1_000

/** The hooks of a client's plugins, in the order in which they were added. */
export class Hooks {
  readonly #hooks: { [Name in HookName]: Set<ClientHooks[Name]> } = {
    onRequest: new Set(),
    onResponse: new Set(),
    onStateChange: new Set(),
  }
  readonly #clock: Clock
  readonly #failed: (error: TunnelError) => void
  /** Of those for which nothing waits: each begins when the one before it has ended. */
  readonly #told = { onResponse: Promise.resolve(), onStateChange: Promise.resolve() }
  #waiting = 0

  /** @param failed told of a hook that fails or is late, where no request can be */
  constructor(clock: Clock, failed: (error: TunnelError) => void) {
    this.#clock = clock
    this.#failed = failed
  }

  /** Returns what takes it out again. */
  add<Name extends HookName>(name: Name, hook: ClientHooks[Name]): () => void {
    const hooks: Set<ClientHooks[Name]> | undefined = this.#hooks[name]
    if (hooks === undefined || typeof hook !== 'function') {
      const known = Object.keys(this.#hooks).join(', ')
      throw new TunnelError('CONFIG_INVALID', `a hook is a function of the name ${known}`, { hop: 'client' })
    }
    hooks.add(hook)
    return () => hooks.delete(hook)
  }

  has(name: HookName): boolean {
    return this.#hooks[name].size > 0
  }

  /** @throws {TunnelError} what a hook threw; TIMEOUT for one that took too long */
  async onRequest(request: RequestContext): Promise<void> {
    for (const hook of this.#hooks.onRequest) await this.#within('onRequest', () => hook(request))
  }

  onResponse(response: ResponseContext): void {
    this.#tell('onResponse', (hook) => hook(response))
  }

  onStateChange(status: TunnelStatus, before: TunnelStatus): void {
    this.#tell('onStateChange', (hook) => hook(status, before))
  }

  #tell<Name extends 'onResponse' | 'onStateChange'>(
    name: Name,
    call: (hook: ClientHooks[Name]) => void | Promise<void>,
  ): void {
    const hooks = [...this.#hooks[name]]
    if (hooks.length === 0) return
    if (this.#waiting >= MAX_WAITING) return this.#failed(late(name, 'are so slow that they miss something'))
    this.#waiting++
    const tell = async (): Promise<void> => {
      for (const hook of hooks) {
        await this.#within(name, () => call(hook)).catch((error: TunnelError) => this.#failed(error))
      }
      this.#waiting--
    }
    this.#told[name] = this.#told[name].then(tell)
  }

  async #within(name: HookName, work: () => void | Promise<void>): Promise<void> {
    const tooLate = () => late(name, `did not end within ${HOOK_MS / 1_000} s`)
    try {
      await inTime(work, HOOK_MS, tooLate, this.#clock)
    } catch (error) {
      throw asTunnelError(error, 'client')
    }
  }
}

function late(name: HookName, what: string): TunnelError {
  const suggestion = 'see what the hook waits for'
  return new TunnelError('TIMEOUT', `the hooks ${name} ${what}`, { hop: 'client', suggestion })
}
