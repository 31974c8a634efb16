import { type Clock, systemClock } from '../../protocol/clock.ts'
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
  /** In the order of use, so that the first is the one to forget. */
  readonly #circuits = new Map<string, Circuit>()

  constructor(options: BreakerOptions, clock: Clock = systemClock) {
    this.#options = options
    this.#clock = clock
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
    if (state.failures >= this.#options.failures) circuit.state = this.#opened(error)
  }

  /** The first request after the time of an open circuit, which decides what follows. */
  #probe<T>(circuit: Circuit, lastFailure: unknown, work: () => Promise<T>): Promise<T> {
    let decide: (state: CircuitState) => void = () => {}
    const probe = new Promise<CircuitState>((resolve) => {
      decide = resolve
    })
    circuit.state = { name: 'half_open', probe, lastFailure }
    return this.#attempt(work, (how, error) => {
      if (how === 'success') circuit.state = { name: 'closed', failures: 0 }
      else if (how === 'failure') circuit.state = this.#opened(error)
      // It never got as far: the next request is the probe.
      else circuit.state = { name: 'open', untilMs: this.#clock.now(), lastFailure }
      decide(circuit.state)
    })
  }

  #opened(lastFailure: unknown): CircuitState {
    return { name: 'open', untilMs: this.#clock.now() + this.#options.openMs, lastFailure }
  }

  #leftMs(state: CircuitState): number {
    return state.name === 'open' ? Math.max(0, state.untilMs - this.#clock.now()) : 0
  }

  #refusal({ machine, state }: Circuit): Error {
    const retryAfterMs = Math.max(this.#leftMs(state), Math.min(PROBE_RETRY_MS, this.#options.openMs))
    return circuitOpen(machine, retryAfterMs, state.name === 'closed' ? undefined : state.lastFailure)
  }

  #touch({ user, owner, machine }: CircuitKey): Circuit {
    const name = JSON.stringify([user, owner, machine])
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
