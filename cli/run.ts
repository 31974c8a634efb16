import { commandIn, dispatch, tellFailure } from './dispatch.ts'
import { EXIT } from './failure.ts'
import { onUncaught } from './uncaught.ts'
import { finished } from './unfinished.ts'

/** How long a service that has ended waits for its last lines to be written, in ms. */
const OUTPUT_MS = 1_000

const argv = process.argv.slice(2)
const name = commandIn(argv) ?? ''
// These two leave the descriptors to ssh, and to their own streams; `process.stdout` would make them non-blocking.
const isRaw = /^(ssh|stdio)$/.test(name)
// A log that is not read, or that fills the disk, must not take a machine or a proxy off line.
const isService = /^(agent|forward|server|socks|up)$/.test(name)
// These hear of it as an error of what they copy, and tell the machine before they end.
const endsItself = /^(cp|exec|request|shell)$/.test(name)
let outputError: NodeJS.ErrnoException | undefined
if (!isRaw) {
  for (const output of [process.stdout, process.stderr]) {
    output.on('error', (error: NodeJS.ErrnoException) => {
      outputError ??= error
      if (error.code === 'EPIPE' && !isService && !endsItself) process.exit(EXIT.brokenPipe)
    })
  }
}

onUncaught((error) => process.exit(tellFailure(argv, error)))
void dispatch(argv, () => outputError !== undefined && endsItself).then(end)

async function end(status: number): Promise<void> {
  await finished()
  if (isRaw) process.exit(status)
  // Nor may it delay the exit: a pipe that is not read, or a stopped terminal, would never take the last lines.
  if (isService) setTimeout(() => process.exit(status), OUTPUT_MS)
  // Only what was written is waited for: nothing that a command forgot to close keeps the person waiting.
  process.stdout.write('', (error) => {
    // A command that has failed of something else has said of what.
    if (status === EXIT.ok) outputError ??= error ?? undefined
    if (outputError === undefined || isService) return process.stderr.write('', () => process.exit(status))
    const { code, message } = outputError
    if (code === 'EPIPE') process.exit(EXIT.brokenPipe)
    const text = `${`tunnel ${name}`.trim()}: the output cannot be written (${code ?? message})\n`
    return process.stderr.write(text, () => process.exit(status === EXIT.ok ? EXIT.failure : status))
  })
}
