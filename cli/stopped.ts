import { type Failure, renderFailure } from './failure.ts'
import { tellAside } from './prose.ts'

/** Tells in one line of a command that a signal has stopped, and what it leaves; with --json as errors are told. */
export function tellStopped(
  command: string,
  { status, left, json }: { status: number; left: string; json: boolean },
): void {
  const message = `stopped; ${left}`
  if (!json) return tellAside(`${command}: ${message}\n`)
  const failure: Failure = {
    command,
    code: 'ABORTED',
    hop: 'client',
    message,
    advice: '',
    causes: [],
    exitStatus: status,
  }
  process.stderr.write(renderFailure(failure, { json }))
}
