import { CircuitState, ConsecutiveBreaker, circuitBreaker, handleWhen } from 'cockatiel'
import { circuitOpen, verdict } from './errors.ts'
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

interface Circuit extends CircuitKey {
  policy: ReturnType<typeof circuitBreaker>
  /** Epoch ms, as cockatiel counts. */
  openedAtMs: number
  lastFailure: unknown
  inFlight: number
}

/** What came of work that reached the machine, be it an answer or an error that proves the way is sound. */
type Outcome<T> = { value: T } | { error: unknown }

/** One circuit for each user and machine: what fails for one user closes the door to nobody else. */
export class Circuits {
  readonly #options: BreakerOptions
  /** In the order of use, so that the first is the one to forget. */
  readonly #circuits = new Map<string, Circuit>()

  constructor(options: BreakerOptions) {
    this.#options = options
  }

  /** Runs `work`, or throws CIRCUIT_OPEN with retryAfterMs. */
  async run<T>(key: CircuitKey, work: () => Promise<T>): Promise<T> {
    const circuit = this.#touch(key)
    this.#admit(circuit)
    circuit.inFlight++
    try {
      const outcome = await circuit.policy.execute(async (): Promise<Outcome<T>> => {
        try {
          return { value: await work() }
        } catch (error) {
          if (verdict(error) === 'success') return { error }
          throw error
        }
      })
      if ('error' in outcome) throw outcome.error
      return outcome.value
    } catch (error) {
      // cockatiel's own refusal: the circuit opened while this call waited behind a probe.
      if (error instanceof Error && 'isBrokenCircuitError' in error) throw this.#refusal(circuit)
      throw error
    } finally {
      circuit.inFlight--
    }
  }

  states(): CircuitReport[] {
    return [...this.#circuits.values()].map((circuit) => ({
      user: circuit.user,
      owner: circuit.owner,
      machine: circuit.machine,
      state: stateOf(circuit),
      retryAfterMs: circuit.policy.state === CircuitState.Open ? this.#openForMs(circuit) : 0,
    }))
  }

  #admit(circuit: Circuit): void {
    const state = circuit.policy.state
    if (state === CircuitState.Open && this.#openForMs(circuit) > 0) throw this.#refusal(circuit)
    if (state === CircuitState.HalfOpen && circuit.inFlight >= this.#options.halfOpenRequests) {
      throw this.#refusal(circuit)
    }
  }

  #refusal(circuit: Circuit): Error {
    // While a probe is under way nobody knows for how long; a second is soon enough to ask again.
    const retryAfterMs = Math.max(this.#openForMs(circuit), Math.min(1_000, this.#options.openMs))
    return circuitOpen(circuit.machine, retryAfterMs, circuit.lastFailure)
  }

  #openForMs(circuit: Circuit): number {
    return Math.max(0, circuit.openedAtMs + this.#options.openMs - Date.now())
  }

  #touch(key: CircuitKey): Circuit {
    const name = JSON.stringify([key.user, key.owner, key.machine])
    const circuit = this.#circuits.get(name) ?? this.#create(key)
    this.#circuits.delete(name)
    this.#circuits.set(name, circuit)
    return circuit
  }

  #create({ user, owner, machine }: CircuitKey): Circuit {
    if (this.#circuits.size >= this.#options.maxCircuits) this.#forgetOne()
    const policy = circuitBreaker(
      handleWhen((error) => verdict(error) === 'failure'),
      { halfOpenAfter: this.#options.openMs, breaker: new ConsecutiveBreaker(this.#options.failures) },
    )
    const circuit: Circuit = {
      user,
      owner,
      machine,
      policy,
      openedAtMs: 0,
      lastFailure: undefined,
      inFlight: 0,
    }
    policy.onBreak((reason) => {
      circuit.openedAtMs = Date.now()
      circuit.lastFailure = 'error' in reason ? reason.error : undefined
    })
    return circuit
  }

  /** The oldest that is closed and idle; where all are in use, the oldest. */
  #forgetOne(): void {
    let oldest: string | undefined
    for (const [name, circuit] of this.#circuits) {
      oldest ??= name
      if (circuit.inFlight === 0 && circuit.policy.state === CircuitState.Closed) {
        this.#circuits.delete(name)
        return
      }
    }
    if (oldest !== undefined) this.#circuits.delete(oldest)
  }
}

function stateOf(circuit: Circuit): CircuitReport['state'] {
  switch (circuit.policy.state) {
    case CircuitState.Open:
      return 'open'
    case CircuitState.HalfOpen:
      return 'half_open'
    default:
      return 'closed'
  }
}
