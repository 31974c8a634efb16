#!/usr/bin/env node
import { COMMANDS, commandOf } from './commands.ts'
import { ACCESS_OPTIONS, namesOf, type OptionDefinition, OUTPUT_OPTIONS } from './definition.ts'
import { describeFailure, EXIT, renderFailure } from './failure.ts'

// Nothing heavy is imported here: each command loads what it needs, and `tunnel stdio` stands between ssh and its first byte.

/** Options that may also stand before the command's name, as in `tunnel --url U machines`. */
const LEADING = namesIn([...ACCESS_OPTIONS, ...OUTPUT_OPTIONS], '(=|$)')
const WITH_VALUE = namesIn(ACCESS_OPTIONS, '$')

function namesIn(options: readonly OptionDefinition[], end: string): RegExp {
  return new RegExp(`^--(${options.map((option) => namesOf(option).long).join('|')})${end}`)
}

function splitLeading(argv: string[]): { leading: string[]; rest: string[] } {
  let end = 0
  while (end < argv.length && LEADING.test(argv[end]!)) {
    end += WITH_VALUE.test(argv[end]!) ? 2 : 1
  }
  return { leading: argv.slice(0, end), rest: argv.slice(end) }
}

async function main(argv: string[]): Promise<number> {
  const { leading, rest } = splitLeading(argv)
  const { command, rest: own } = commandOf(rest)
  try {
    if (command === undefined) return await (await import('./overview.ts')).run(rest)
    const { run } = await COMMANDS[command].load()
    return await run([...leading, ...own])
  } catch (error) {
    // The end of this file tells the person that the output cannot be written.
    if (outputError !== undefined && endsItself) return EXIT.failure
    const failure = describeFailure(command === undefined ? 'tunnel' : `tunnel ${command}`, error)
    if (command === 'ssh' || command === 'exec' || command === 'shell')
      failure.exitStatus = remoteStatus(failure.exitStatus)
    const ours = ownOptions(command, argv)
    const style = { json: ours.includes('--json'), verbose: ours.includes('--verbose') }
    const text = renderFailure(failure, style)
    // Under ssh the terminal is raw, and its cursor anywhere.
    const isRawTerminal = command === 'stdio' && process.stderr.isTTY
    process.stderr.write(isRawTerminal ? `\r\n${text.replaceAll('\n', '\r\n')}` : text)
    return failure.exitStatus
  }
}

/** What is ours to read: of `exec` and `ssh`, what stands before the machine, and of all others what is before `--`. */
function ownOptions(command: string | undefined, argv: string[]): string[] {
  if (command !== 'exec' && command !== 'ssh') {
    const end = argv.indexOf('--')
    return end === -1 ? argv : argv.slice(0, end)
  }
  let end = argv.indexOf(command) + 1
  for (; argv[end]?.startsWith('--') && argv[end] !== '--'; end++) {
    if (WITH_VALUE.test(argv[end]!)) end++
  }
  return argv.slice(0, end)
}

/** These pass on the remote status, so all but a mistyped command line is 255, as with ssh. */
function remoteStatus(status: number): number {
  return status === EXIT.usage ? EXIT.usage : EXIT.remote
}

/** How long a service that has ended waits for its last lines to be written, in ms. */
const OUTPUT_MS = 1_000

const argv = process.argv.slice(2)
const name = commandOf(splitLeading(argv).rest).command ?? ''
// These two leave the descriptors to ssh, and to their own streams; `process.stdout` would make them non-blocking.
const isRaw = /^(ssh|stdio)$/.test(name)
// A log that is not read, or that fills the disk, must not take a machine or a proxy off line.
const isService = /^(agent|forward|server|socks)$/.test(name)
// These hear of it as an error of what they copy, and tell the machine before they end.
const endsItself = /^(exec|request|shell)$/.test(name)
let outputError: NodeJS.ErrnoException | undefined
if (!isRaw) {
  for (const output of [process.stdout, process.stderr]) {
    output.on('error', (error: NodeJS.ErrnoException) => {
      outputError ??= error
      if (error.code === 'EPIPE' && !isService && !endsItself) process.exit(EXIT.brokenPipe)
    })
  }
}

const status = await main(argv)
if (isRaw) process.exit(status)
// Nor may it delay the exit: a pipe that is not read, or a stopped terminal, would never take the last lines.
if (isService) setTimeout(() => process.exit(status), OUTPUT_MS)
// Only what was written is waited for: nothing that a command forgot to close keeps the person waiting.
process.stdout.write('', (error) => {
  outputError ??= error ?? undefined
  if (outputError === undefined || isService) return process.stderr.write('', () => process.exit(status))
  const { code, message } = outputError
  if (code === 'EPIPE') process.exit(EXIT.brokenPipe)
  const text = `${`tunnel ${name}`.trim()}: the output cannot be written (${code ?? message})\n`
  return process.stderr.write(text, () => process.exit(status === EXIT.ok ? EXIT.failure : status))
})
