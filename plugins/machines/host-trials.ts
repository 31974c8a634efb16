import { type Clock, systemClock } from '../../protocol/clock.ts'
import { dialTcp } from './dial-tcp.ts'
import { machineOffline } from './errors.ts'
import type { MachinesOptions } from './options.ts'
import { type Trial, Trials } from './trials.ts'

/** The trials of configured hosts, some of which may come and go while the proxy runs. */
export class HostTrials {
  readonly #hosts: MachinesOptions
  readonly #everyMs: number
  readonly #clock: Clock
  readonly #trials = new Map<string, Trials>()
  #closed = false

  constructor(hosts: MachinesOptions, everyMs: number, clock: Clock = systemClock) {
    this.#hosts = hosts
    this.#everyMs = everyMs
    this.#clock = clock
    for (const name of Object.keys(hosts)) this.last(name)
  }

  /** The last trial of a host; one that is new is tried from now on. */
  last(name: string): Trial | undefined {
    let trials = this.#trials.get(name)
    if (trials === undefined && !this.#closed) {
      trials = new Trials(async () => this.#dial(name), this.#everyMs, this.#clock)
      this.#trials.set(name, trials)
      trials.start()
    }
    return trials?.last
  }

  #dial(name: string): ReturnType<typeof dialTcp> {
    const host = this.#hosts[name]
    if (host !== undefined) return dialTcp(name, host)
    this.#trials.get(name)?.stop()
    this.#trials.delete(name)
    throw machineOffline(name)
  }

  /** Safe to call twice. */
  close(): void {
    this.#closed = true
    for (const trials of this.#trials.values()) trials.stop()
  }
}
