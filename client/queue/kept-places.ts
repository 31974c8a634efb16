import type { Kept } from '../request.ts'
import type { Entry, Journal } from './journal.ts'
import type { StoredRequest } from './record.ts'

/** The requests of a store that are in this program's hands: each has a place in it until it is over. */
export class KeptPlaces {
  readonly journal: Journal
  /** Of those that are on disk. */
  readonly #ids = new Set<string>()
  /** By their sequence: they have no outcome, and wait on disk to be taken again. */
  readonly #givenUp = new Set<number>()
  #taken = 0
  #onIdle: (() => void) | undefined

  constructor(journal: Journal) {
    this.journal = journal
  }

  has(id: string): boolean {
    return this.#ids.has(id)
  }

  /** For a request that is to be written. */
  take(stored: StoredRequest): KeptPlace {
    this.#taken++
    return new KeptPlace(this, this.journal.takeSequence(), stored.id, stored)
  }

  /** For one that is in the store. */
  takeAgain({ sequence, request }: Entry): KeptPlace {
    this.#taken++
    this.#givenUp.delete(sequence)
    this.#ids.add(request.id)
    return new KeptPlace(this, sequence, request.id, undefined)
  }

  isGivenUp({ sequence }: Entry): boolean {
    return this.#givenUp.has(sequence)
  }

  /** When no place is taken. */
  async idle(): Promise<void> {
    while (this.#taken > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve
      })
    }
  }

  /** The request of a place is on disk. */
  written(id: string): void {
    this.#ids.add(id)
  }

  giveUp(sequence: number): void {
    this.#givenUp.add(sequence)
  }

  /** A place is given back. */
  over(id: string): void {
    this.#ids.delete(id)
    this.#taken--
    if (this.#taken === 0) this.#onIdle?.()
  }
}

export class KeptPlace implements Kept {
  readonly isRestored: boolean
  readonly #places: KeptPlaces
  readonly #sequence: number
  readonly #id: string
  /** Until it is on disk: what waits need not be in memory twice. */
  #unwritten: StoredRequest | undefined
  #isMarked = false

  constructor(places: KeptPlaces, sequence: number, id: string, unwritten: StoredRequest | undefined) {
    this.#places = places
    this.#sequence = sequence
    this.#id = id
    this.#unwritten = unwritten
    this.isRestored = unwritten === undefined
  }

  async accept(): Promise<void> {
    if (this.#unwritten === undefined) return
    await this.#places.journal.add(this.#sequence, this.#unwritten)
    this.#unwritten = undefined
    this.#places.written(this.#id)
  }

  sending(mayRepeat: boolean): Promise<void> {
    this.#isMarked = !mayRepeat
    return this.#places.journal.sending(this.#sequence, mayRepeat)
  }

  refused(): void {
    if (this.#isMarked) this.#places.journal.notSent(this.#sequence)
    this.#isMarked = false
  }

  over(hasOutcome: boolean): void {
    const isOnDisk = this.#unwritten === undefined
    if (isOnDisk && hasOutcome) this.#places.journal.remove(this.#sequence)
    else if (isOnDisk) this.#places.giveUp(this.#sequence)
    this.#places.over(this.#id)
  }
}
