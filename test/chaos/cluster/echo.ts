import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { programWords } from '../../support/compiled.ts'
import type { Scope } from '../../support/scope.ts'

export interface EchoOrder {
  urls: readonly string[]
  token: string
}

/** A stream that is typed into all the time, with its client, agent and server in a process of their own. */
export class Echo {
  readonly #program: ChildProcess

  /** Resolves when the stream is open. */
  static async start(scope: Scope, order: EchoOrder): Promise<Echo> {
    const program = spawn(process.execPath, programWords('test/chaos/cluster/echo-program.ts'), {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    scope.after(() => program.kill('SIGKILL'))
    // What it is told before it listens is lost.
    await once(program, 'message')
    program.send(order)
    await once(program, 'message')
    return new Echo(program)
  }

  private constructor(program: ChildProcess) {
    this.#program = program
  }

  /** How long each echo took that has come since the last time it was asked, in ms. */
  async take(): Promise<number[]> {
    this.#program.send('take')
    const [echoesMs] = (await once(this.#program, 'message')) as [number[]]
    return echoesMs
  }
}
