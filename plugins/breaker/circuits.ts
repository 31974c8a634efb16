import { type Clock, systemClock } from '../../protocol/clock.ts'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import { circuitOpen, type Verdict, verdict } from './errors.ts'
import type { BreakerOptions } from './options.ts'

export interface CircuitKey {
  user: string
  /** Whose machine it is. */
  owner: string
  machine: string
}

export interface CircuitReport extends CircuitKey {
  state: 'closed' | 'open' | 'half_open'
  /** Until an open circuit lets a probe through, in ms; 0 where it would now. */
  retryAfterMs: number
}

/** What somebody who watches is told. */
export interface CircuitWatch {
  /** A circuit stands differently; `by` is the administrator who has done it. */
  changed?(key: CircuitKey, state: CircuitReport['state'], by: string | undefined): void
  /** A request was refused without being tried. */
  refused?(): void
}

/** Where a circuit stands, with what only this state knows. */
type CircuitState =
  | { name: 'closed'; failures: number }
  | { name: 'open'; untilMs: number; lastFailure: unknown }
  /** One request is the probe, and resolves it with the state that follows. */
  | { name: 'half_open'; probe: Promise<CircuitState>; lastFailure: unknown }

interface Circuit extends CircuitKey {
  state: CircuitState
  inFlight: number
}

/** When to ask again while a probe is under way, whose length is not known, in ms. */
const PROBE_RETRY_MS = 1_000

/** One circuit for each user and machine: one user's failures never refuse another user. */
export class Circuits {
  readonly #options: BreakerOptions
  readonly #clock: Clock
  readonly #watch: CircuitWatch
  /** In the order of use, so that the first is the one to forget. */
  readonly #circuits = new Map<string, Circuit>()

  constructor(options: BreakerOptions, clock: Clock = systemClock, watch: CircuitWatch = {}) {
    this.#options = options
    this.#clock = clock
    this.#watch = watch
  }

  /** Runs `work`, or throws CIRCUIT_OPEN with retryAfterMs. */
  async run<T>(key: CircuitKey, work: () => Promise<T>): Promise<T> {
    const circuit = this.#touch(key)
    const { state } = circuit
    if (state.name === 'open' && this.#leftMs(state) > 0) throw this.#refusal(circuit)
    if (state.name === 'half_open' && circuit.inFlight >= this.#options.halfOpenRequests)
      throw this.#refusal(circuit)
    circuit.inFlight++
    try {
      if (state.name === 'open') return await this.#probe(circuit, state.lastFailure, work)
      if (state.name === 'half_open' && (await state.probe).name !== 'closed') throw this.#refusal(circuit)
      return await this.#attempt(work, (how, error) => this.#count(circuit, how, error))
    } finally {
      circuit.inFlight--
    }
  }

  /** A connection that stood was lost by `error`, which counts as an attempt that failed so. */
  lost(key: CircuitKey, error: TunnelError): void {
    this.#count(this.#touch(key), verdict(error), error)
  }

  states(): CircuitReport[] {
    return [...this.#circuits.values()].map(({ user, owner, machine, state }) => ({
      ...{ user, owner, machine },
      state: state.name,
      retryAfterMs: this.#leftMs(state),
    }))
  }

  async #attempt<T>(work: () => Promise<T>, over: (how: Verdict, error: unknown) => void): Promise<T> {
    try {
      const value = await work()
      over('success', undefined)
      return value
    } catch (error) {
      over(verdict(error), error)
      throw error
    }
  }

  #count(circuit: Circuit, how: Verdict, error: unknown): void {
    const { state } = circuit
    // What began before the circuit opened decides nothing any more.
    if (state.name !== 'closed' || how === 'neutral') return
    state.failures = how === 'success' ? 0 : state.failures + 1
    if (state.failures >= this.#options.failures) this.#change(circuit, this.#opened(error))
  }

  /** The first request after the time of an open circuit, which decides what follows. */
  #probe<T>(circuit: Circuit, lastFailure: unknown, work: () => Promise<T>): Promise<T> {
    let decide: (state: CircuitState) => void = () => {}
    const probe = new Promise<CircuitState>((resolve) => {
      decide = resolve
    })
    this.#change(circuit, { name: 'half_open', probe, lastFailure })
    return this.#attempt(work, (how, error) => {
      const next: CircuitState =
        how === 'success'
          ? { name: 'closed', failures: 0 }
          : how === 'failure'
            ? this.#opened(error)
            : // It never got as far: the next request is the probe.
              { name: 'open', untilMs: this.#clock.now(), lastFailure }
      // Somebody may have decided it meanwhile.
      if (circuit.state.name === 'half_open' && circuit.state.probe === probe) this.#change(circuit, next)
      decide(circuit.state)
    })
  }

  #change(circuit: Circuit, state: CircuitState, by?: string): void {
    circuit.state = state
    this.#watch.changed?.(circuit, state.name, by)
  }

  /** Closes a circuit, or opens it for as long as a failure would, as an administrator wants it. */
  set(key: CircuitKey, state: 'closed' | 'open', by: string): void {
    const circuit = this.#touch(key)
    this.#change(circuit, state === 'open' ? this.#opened(undefined) : { name: 'closed', failures: 0 }, by)
  }

  /** It was open when this proxy's predecessor ended, and would be for so long still. */
  restore(key: CircuitKey, leftMs: number): void {
    // A clock that was set back keeps nobody out for longer.
    const untilMs = this.#clock.now() + Math.min(leftMs, this.#options.openMs)
    this.#touch(key).state = { name: 'open', untilMs, lastFailure: undefined }
  }

  #opened(lastFailure: unknown): CircuitState {
    return { name: 'open', untilMs: this.#clock.now() + this.#options.openMs, lastFailure }
  }

  #leftMs(state: CircuitState): number {
    return state.name === 'open' ? Math.max(0, state.untilMs - this.#clock.now()) : 0
  }

  #refusal({ machine, state }: Circuit): Error {
    this.#watch.refused?.()
    const retryAfterMs = Math.max(this.#leftMs(state), Math.min(PROBE_RETRY_MS, this.#options.openMs))
    return circuitOpen(machine, retryAfterMs, state.name === 'closed' ? undefined : state.lastFailure)
  }

  #touch(key: CircuitKey): Circuit {
    const { user, owner, machine } = key
    const name = nameOf(key)
    let circuit = this.#circuits.get(name)
    if (circuit === undefined) {
      if (this.#circuits.size >= this.#options.maxCircuits) this.#forgetOne()
      circuit = { user, owner, machine, state: { name: 'closed', failures: 0 }, inFlight: 0 }
    }
    this.#circuits.delete(name)
    this.#circuits.set(name, circuit)
    return circuit
  }

  /** The oldest that is closed and idle; where all are in use, the oldest. */
  #forgetOne(): void {
    let oldest: string | undefined
    for (const [name, circuit] of this.#circuits) {
      oldest ??= name
      if (circuit.inFlight === 0 && circuit.state.name === 'closed') {
        this.#circuits.delete(name)
        return
      }
    }
    if (oldest !== undefined) this.#circuits.delete(oldest)
  }
}

/** One name for each circuit, whatever a user or a machine is called. */
export function nameOf({ user, owner, machine }: CircuitKey): string {
  return JSON.stringify([user, owner, machine])
}
