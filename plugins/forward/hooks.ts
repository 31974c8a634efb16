import { type Clock, systemClock } from '../../protocol/clock.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import type { RoutedHead } from '../../protocol/codec/heads.ts'
import { inTime } from '../../protocol/in-time.ts'
import type { User } from '../auth/index.ts'
import { hookFailed, hookTimeout, hookWrong } from './errors.ts'
import type { Log } from './log.ts'

/** A link that stands, or has gone. */
export interface LinkContext {
  user: User
  role: 'client' | 'agent' | 'relay'
  /** The other replica, where a stream is one that it hands over; before it, with a space, a third that handed it to that one. */
  via?: string
  /** The agent's machine. */
  machine?: string
  connectionId: string
  correlationId: string
  log: Log
}

/** A stream that asks to be opened. */
export interface OpenContext {
  user: User
  head: RoutedHead
  /** As its user calls it, which may be `owner/name`; once the stream is admitted, its name alone. */
  machine: string
  /** Whose machine it is, once the stream is admitted. */
  owner?: string
  /** host:port. A `preOpen` hook may change it for inspected streams. */
  target?: string
  /** Of an inspected stream to a name, once it has been resolved: what it stands for on the machine, or what of that is used. */
  addresses?: readonly string[]
  mode: 'sealed' | 'inspected'
  connectionId: string
  correlationId: string
  log: Log
  /** Another replica has it from its opener, and counts and tells of it; this one only brings it to the agent. */
  via?: string
  /** It was opened at another proxy and goes on here: `preOpen` was asked there. */
  moved: boolean
  /**
   * More headers for a request of kind `http`; they replace those of the same name, and an empty one is left out. A `preOpen`
   * hook may add some.
   */
  headers?: Record<string, string>
}

export interface CloseContext extends OpenContext {
  /** Why the stream ended early; undefined where both sides ended it. */
  error: TunnelError | undefined
  durationMs: number
}

/** What each hook is told. */
export interface TunnelHookContexts {
  /** A link has been authenticated; an error refuses it. */
  onConnect: LinkContext
  /** A stream asks to be opened; an error refuses it. */
  preOpen: OpenContext
  /** The way to the machine stands; an error ends the stream. */
  onOpen: OpenContext
  /** A stream that was admitted is over, or goes on at another proxy: once for each at each proxy. */
  onClose: CloseContext
  onDisconnect: LinkContext
}

export type TunnelHookName = keyof TunnelHookContexts
export type TunnelHook<Name extends TunnelHookName> = (
  context: TunnelHookContexts[Name],
) => Promise<void> | void

const NAMES = [
  'onConnect',
  'preOpen',
  'onOpen',
  'onClose',
  'onDisconnect',
] as const satisfies TunnelHookName[]

type AnyHook = (context: never) => Promise<void> | void

/** The hooks of custom plugins, in the order in which they were added. */
export class TunnelHooks {
  readonly #hooks = new Map<TunnelHookName, AnyHook[]>()
  readonly #timeoutMs: number
  readonly #clock: Clock

  constructor(timeoutMs: number, clock: Clock = systemClock) {
    this.#timeoutMs = timeoutMs
    this.#clock = clock
  }

  /** @throws {TunnelError} CONFIG_INVALID for what is no hook: a check that never runs is no check */
  addHook<Name extends TunnelHookName>(name: Name, hook: TunnelHook<Name>): void {
    if (!NAMES.includes(name)) throw hookWrong(`there is no hook ${String(name)}`, NAMES)
    if (typeof hook !== 'function') throw hookWrong(`the hook ${name} is not a function`, NAMES)
    const hooks = this.#hooks.get(name) ?? []
    hooks.push(hook)
    this.#hooks.set(name, hooks)
  }

  has(name: TunnelHookName): boolean {
    return this.#hooks.has(name)
  }

  /**
   * Runs the hooks one after the other; the first that throws ends it. Throws the hook's own TunnelError, INTERNAL for
   * any other error, or TIMEOUT; these two are logged, as nobody else would hear whose fault they are.
   */
  async run<Name extends TunnelHookName>(name: Name, context: TunnelHookContexts[Name]): Promise<void> {
    for (const hook of this.#hooks.get(name) ?? []) {
      let late: TunnelError | undefined
      try {
        const working = (hook as TunnelHook<Name>)(context)
        if (working === undefined) continue
        const tooLate = () => {
          late = hookTimeout(name, this.#timeoutMs)
          return late
        }
        await inTime(() => working, this.#timeoutMs, tooLate, this.#clock)
      } catch (error) {
        if (error instanceof TunnelError && error !== late) throw error
        context.log.error({ err: error }, `a plugin's ${name} hook failed`)
        throw late ?? hookFailed(name, error)
      }
    }
  }

  /** The same where nothing is left to refuse: a failure is logged, and the other hooks run. */
  async notify<Name extends TunnelHookName>(name: Name, context: TunnelHookContexts[Name]): Promise<void> {
    for (const hook of this.#hooks.get(name) ?? []) {
      try {
        const late = () => hookTimeout(name, this.#timeoutMs)
        await inTime(() => (hook as TunnelHook<Name>)(context), this.#timeoutMs, late, this.#clock)
      } catch (error) {
        context.log.error({ err: error }, `a plugin's ${name} hook failed`)
      }
    }
  }
}
