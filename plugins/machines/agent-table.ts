import type { Duplex } from 'node:stream'
import type { Clock } from '../../protocol/clock.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import type { AskedHead, Vouched } from '../../protocol/codec/heads.ts'
import { StreamDuplex } from '../../protocol/node/duplex.ts'
import type { StreamsOptions } from '../../protocol/options.ts'
import { Budget } from '../../protocol/stream/budget.ts'
import { StreamOpener } from '../../protocol/stream/opener.ts'
import type { Agent } from './agent.ts'
import { AgentNames } from './agent-names.ts'
import { Homes } from './homes.ts'
import { keyOf } from './records.ts'
import { Trials } from './trials.ts'

/** The agents that are on line, or were within the resume window, and those that somebody waits for. */
export class AgentTable {
  readonly #settings: StreamsOptions
  readonly #clock: Clock
  readonly #probeMs: number
  readonly #agents = new Map<string, Agent>()

  /** @param probeMs how often each agent is tried as far as the machine's SSH server; 0: never */
  constructor(settings: StreamsOptions, clock: Clock, probeMs: number) {
    this.#settings = settings
    this.#clock = clock
    this.#probeMs = probeMs
  }

  get all(): Iterable<Agent> {
    return this.#agents.values()
  }

  find(owner: string, name: string): Agent | undefined {
    return this.#agents.get(keyOf(owner, name))
  }

  /** One that is not known is from now on. */
  get(owner: string, name: string): Agent {
    return this.find(owner, name) ?? this.#add(owner, name)
  }

  #add(owner: string, name: string): Agent {
    // Nothing is opened before there is a link, which brings its own.
    const budget = new Budget(0)
    const opener = new StreamOpener({ settings: this.#settings, clock: this.#clock, budget })
    const agent: Agent = {
      owner,
      name,
      opener,
      budget,
      links: [],
      homes: new Homes(),
      isFresh: () => true,
      since: new Date(),
      sinceMs: this.#clock.now(),
      wasOnline: false,
      forgetTimer: undefined,
      waiting: new Set(),
      names: new AgentNames(opener, this.#clock),
      // Of nobody: the agent dials its SSH server from an address of its own then, so that no user's is counted.
      trials: new Trials(async () => openSsh(opener, { machine: name }), this.#probeMs, this.#clock),
    }
    this.#agents.set(keyOf(owner, name), agent)
    return agent
  }

  /** Somebody has come. */
  stay(agent: Agent): void {
    this.#clock.clearTimer(agent.forgetTimer)
    agent.forgetTimer = undefined
  }

  /** It is on line from now on, or not any more. */
  changed(agent: Agent): void {
    agent.since = new Date()
    agent.sinceMs = this.#clock.now()
  }

  /** Nothing is known of it any more unless somebody stays or comes within the resume window. */
  forgetLater(agent: Agent): void {
    agent.forgetTimer ??= this.#clock.setTimer(() => this.forget(agent), this.#settings.resumeMs)
  }

  forget(agent: Agent): void {
    const text = `the agent of ${agent.name} did not come back`
    this.end(agent, new TunnelError('AGENT_LOST', text, { hop: 'agent' }))
  }

  /** What goes to it ends with `error`, and what waits for it. */
  end(agent: Agent, error: TunnelError): void {
    this.#clock.clearTimer(agent.forgetTimer)
    agent.trials.stop()
    const key = keyOf(agent.owner, agent.name)
    if (this.#agents.get(key) === agent) this.#agents.delete(key)
    agent.opener.close(error)
    const waiting = [...agent.waiting]
    agent.waiting.clear()
    for (const { gone } of waiting) gone(error)
  }
}

/** A stream to the machine's SSH server. */
export function openSsh(
  opener: StreamOpener,
  head: Pick<AskedHead, 'machine' | 'traceparent' | 'tracestate'> & Vouched,
): Promise<Duplex> {
  return StreamDuplex.accepted(opener.open({ kind: 'ssh', ...head }))
}
