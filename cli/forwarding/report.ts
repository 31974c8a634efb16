import { isatty } from 'node:tty'
import { systemClock } from '../../protocol/clock.ts'
import { TokenBucket } from '../../protocol/token-bucket.ts'
import { describeFailure, renderFailure } from '../failure.ts'
import { visible } from '../output.ts'
import { tell, tellAside } from '../prose.ts'
import { Notices } from '../terminal.ts'
import type { Mode } from './way.ts'

/** Failures of connections that are told: a program that tries again and again must not fill a terminal or a log. */
const FAILURE_BURST = 10
const FAILURES_PER_SECOND = 0.5
/** The same of connections that wait, each of which tells what the others do. */
const WAITS_PER_SECOND = 0.2

const STDERR = 2

/** Part of each command's help, because scripts depend on it. */
export const EVENTS_NOTE = `\
With --json each event is one line of JSON on stdout, and "event" says which:
  listening  listen (the addresses), machine, target, mode: "sealed",
             "inspected", or "auto" while the agent has not decided
  ready      everything listens, and the proxy is connected
  mode       machine, target, mode: what the first connection has decided
  link       state ("lost" or "back"), message
  waiting    message: connections wait, for what is said
  warning    code, message
  error      a connection has failed: code, hop, message, machine, target,
             suppressed (how many failures before it were not told)`

export interface Listening {
  listen: readonly string[]
  machine: string
  /** Undefined where each connection names its own. */
  target?: string
  mode: Mode | undefined
}

/** What a command that listens says while it runs: to a person in sentences, with --json one line for each event. */
export class Report {
  readonly #command: string
  readonly #json: boolean
  readonly #verbose: boolean
  readonly #notices = isatty(STDERR) ? new Notices() : undefined
  readonly #failures = new TokenBucket(systemClock, FAILURES_PER_SECOND, FAILURE_BURST)
  readonly #waits = new TokenBucket(systemClock, WAITS_PER_SECOND, 1)
  #suppressed = 0

  constructor(command: string, { json = false, verbose = false }: { json?: boolean; verbose?: boolean }) {
    this.#command = command
    this.#json = json
    this.#verbose = verbose
  }

  listening({ listen, machine, target, mode }: Listening): void {
    if (this.#json) return this.#event('listening', { listen, machine, target, mode: mode ?? 'auto' })
    const how = mode === undefined ? '' : ` (${mode})`
    this.#line(`${listen.join(' and ')} → ${nameOf(machine, target)}${how}`)
  }

  ready(): void {
    if (this.#json) return this.#event('ready', {})
    this.#line('ready; Ctrl-C ends')
  }

  decided(machine: string, target: string, mode: Mode): void {
    if (this.#json) return this.#event('mode', { machine, target, mode })
    const why =
      mode === 'sealed'
        ? 'sealed: the agent makes the connections, and the proxy relays them'
        : `inspected: the proxy has the machine's sshd make the connections, because the agent does not allow this target`
    this.#line(`${nameOf(machine, target)} is ${why}`)
  }

  warn(code: string, message: string): void {
    if (this.#json) this.#event('warning', { code, message })
    else tellAside(`tunnel ${this.#command}: warning: ${visible(message)} (${code})\n`)
  }

  link(state: 'lost' | 'back', message: string): void {
    if (this.#json) return this.#event('link', { state, message })
    if (this.#notices === undefined) tellAside(`tunnel: ${message}\n`)
    else this.#notices.say(message)
  }

  /** A connection, and perhaps others, waits for what `message` says. */
  waiting(message: string): void {
    if (!this.#waits.take()) return
    if (this.#json) this.#event('waiting', { message })
    else tellAside(`tunnel ${this.#command}: waiting: ${visible(message)}\n`)
  }

  /** One connection has failed, or one more was turned away; the command goes on. */
  failed(error: unknown, machine?: string, target?: string): void {
    if (!this.#failures.take()) {
      this.#suppressed++
      return
    }
    const suppressed = this.#suppressed
    this.#suppressed = 0
    const failure = describeFailure(`tunnel ${this.#command}`, error)
    if (this.#json) {
      const { code, hop, message } = failure
      return this.#event('error', { code, hop, message, machine, target, suppressed })
    }
    if (machine !== undefined) failure.message = `${nameOf(machine, target)}: ${failure.message}`
    if (suppressed > 0) failure.message = `(${suppressed} more failed before) ${failure.message}`
    tellAside(renderFailure(failure, { verbose: this.#verbose }))
  }

  #event(event: string, fields: Record<string, unknown>): void {
    process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`)
  }

  #line(text: string): void {
    tell(`${visible(text)}\n`)
  }
}

function nameOf(machine: string, target: string | undefined): string {
  return target === undefined ? machine : `${machine}, ${target}`
}
