import { TunnelHooks } from '../../plugins/forward/hooks.ts'
import type { Log } from '../../plugins/forward/log.ts'
import type { StreamServices } from '../../plugins/forward/streams.ts'
import type { ProcessClock } from './process-clock.ts'

/** What was said of one stream at one proxy, in order. */
export type Said = ('onOpen' | `onClose ${string}` | `${string}.${string} ${string}`)[]

const silent = (): void => {}
export const NO_LOG: Log = {
  ...{ debug: silent, info: silent, warn: silent, error: silent },
  child: () => NO_LOG,
}

/** Everything that one process of a proxy says of its streams: hooks, audit trail and metrics. */
export class Ledger {
  readonly hooks: TunnelHooks
  readonly audit: StreamServices['audit']
  readonly tunnelMetrics: StreamServices['tunnelMetrics']
  readonly said = new Map<string, Said>()
  /** `tunnel_requests_total`, by outcome. */
  readonly requests = new Map<string, number>()
  /** What a killed process says, nobody hears. */
  silenced = false

  constructor(clock: ProcessClock, random: () => number) {
    this.hooks = new TunnelHooks(5_000, clock)
    const pause = (): Promise<void> | undefined => {
      if (random() < 0.7) return undefined
      return new Promise((resolve) => clock.setTimer(resolve, Math.floor(random() * 40)))
    }
    this.hooks.addHook('preOpen', pause)
    this.hooks.addHook('onOpen', ({ head }) => {
      this.#say(head.id, 'onOpen')
      return pause()
    })
    this.hooks.addHook('onClose', ({ head, error }) => this.#say(head.id, `onClose ${error?.code ?? 'ok'}`))
    this.audit = {
      record: ({ event, details = {} }) => {
        // Another replica admitted it, and says how it ended.
        if (details.via !== undefined) return
        this.#say(String(details.streamId), `${event} ${details.outcome}` as Said[number])
      },
    }
    this.tunnelMetrics = {
      requests: {
        inc: ({ outcome }) => {
          if (!this.silenced) this.requests.set(outcome, (this.requests.get(outcome) ?? 0) + 1)
        },
      },
      requestLatencyMs: { observe: silent },
      streamOpens: { inc: silent },
      streamOpenMs: { observe: silent },
      bytes: { inc: silent },
      streamResumes: { inc: silent },
      relayHops: { inc: silent },
      countError: silent,
    }
  }

  #say(streamId: string, what: Said[number]): void {
    if (this.silenced) return
    const said = this.said.get(streamId) ?? []
    said.push(what)
    this.said.set(streamId, said)
  }
}
