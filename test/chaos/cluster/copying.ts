import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { ChaosProgram, ProgramContext } from '../programs/index.ts'

/** A program that copies something there and back, again and again, with other bytes each time. */
export class Copying {
  readonly #program: ChaosProgram
  readonly #context: ProgramContext
  readonly #over: Promise<void>
  #ending = false
  #equal = 0
  #faults: string[] = []

  constructor(program: ChaosProgram, context: ProgramContext) {
    this.#program = program
    this.#context = context
    this.#over = this.#run()
  }

  async #run(): Promise<void> {
    for (let round = 1; !this.#ending && !this.#context.signal.aborted; round++) {
      const folder = join(this.#context.folder, String(round))
      await mkdir(folder, { recursive: true })
      const seed = `${this.#context.seed} ${round}`
      const { checksumOk, exitStatus, detail } = await this.#program.run({ ...this.#context, folder, seed })
      if (this.#context.signal.aborted) return
      if (checksumOk && exitStatus === 0) this.#equal++
      else this.#faults.push(`${this.#program.name}: ${detail ?? `exit ${exitStatus}, checksums differ`}`)
      await rm(folder, { recursive: true, force: true })
    }
  }

  /** Since the last time: rounds whose checksums were equal, and what broke the others. */
  take(): { equal: number; faults: string[] } {
    const taken = { equal: this.#equal, faults: this.#faults }
    this.#equal = 0
    this.#faults = []
    return taken
  }

  /** Begins no other round; resolves when the one that runs is over. */
  async end(): Promise<void> {
    this.#ending = true
    await this.#over
  }
}
