import type { Readable, Writable } from 'node:stream'
import { isatty } from 'node:tty'
import { parseArgs } from 'node:util'
import { parseTarget } from '../../protocol/codec/target.ts'
import type { StreamDuplex } from '../../protocol/node/duplex.ts'
import { collectInOneGo } from '../collector.ts'
import { withTunnel } from '../connect.ts'
import { EXIT, UsageError } from '../failure.ts'
import { checkMachine } from '../machine-name.ts'
import { narrate } from '../narrate.ts'
import { standardInput, standardOutput } from '../standard-streams.ts'
import { stopSignal } from '../stop.ts'

// No commander here: ssh waits for this process before its first byte.

const HELP = `Usage: tunnel stdio [options] MACHINE [HOST:PORT]

Bytes between stdin/stdout and the machine's sshd, sealed: for ssh's ProxyCommand. HOST:PORT names another address,
which the agent must allow. On a terminal stderr tells of lost links and resumed ones.

Options:
  --url <url>        address of the proxy (or TUNNEL_URL); again for each further replica
  --token <token>    access token (or TUNNEL_TOKEN, TUNNEL_TOKEN_FILE)
  --profile <name>   configuration profile (or TUNNEL_PROFILE)
  --json             errors as JSON
  --verbose          show the causes of an error
  --help             this text

Examples:
  $ ssh -o 'ProxyCommand=tunnel stdio %h' me@home
  $ scp -o 'ProxyCommand=tunnel stdio %h' big.iso home:
`

const OPTIONS = {
  url: { type: 'string', multiple: true },
  token: { type: 'string' },
  profile: { type: 'string' },
  json: { type: 'boolean' },
  verbose: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const

function read(argv: string[]) {
  try {
    return parseArgs({ args: argv, options: OPTIONS, allowPositionals: true })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message.split('. To specify')[0]! : String(error))
  }
}

export async function run(argv: string[]): Promise<number> {
  const { values, positionals } = read(argv)
  if (values.help === true) {
    process.stdout.write(HELP)
    return EXIT.ok
  }
  const [machine, target, ...more] = positionals
  if (machine === undefined || more.length > 0)
    throw new UsageError('name one machine: tunnel stdio MACHINE [HOST:PORT]')
  checkMachine(machine)
  if (target !== undefined && parseTarget(target) === undefined)
    throw new UsageError(`an address is HOST:PORT, not "${target}"`)
  collectInOneGo()
  return withTunnel(values, async (tunnel) => {
    const stopped = stopSignal()
    const stream = await tunnel.open({ machine, kind: 'ssh', ...(target !== undefined && { target }) })
    if (isatty(2)) narrate(tunnel, stream, machine, (line) => process.stderr.write(`\r\ntunnel: ${line}\r\n`))
    // An SSH server that has ended listens no longer, and a person has no reason to type on. Other protocols half-close.
    const isWhole = target === undefined || isatty(0)
    // ssh ends its ProxyCommand with SIGHUP: the far side is told, or it would keep the stream for the resume window.
    const ended = await Promise.race([join(stream, standardInput(), standardOutput(), isWhole), stopped])
    if (typeof ended === 'number') return ended
    stream.destroy()
    return EXIT.ok
  })
}

/**
 * Copies both ways until both halves are over; each half ends on its own.
 * @param isWhole with the machine's half the other one is over as well
 */
function join(stream: StreamDuplex, from: Readable, to: Writable, isWhole: boolean): Promise<number> {
  return new Promise((resolve, reject) => {
    from.on('error', () => stream.end())
    to.on('error', () => {
      // ssh has gone: so has the reason for this stream.
      stream.destroy()
      resolve(EXIT.brokenPipe)
    })
    stream.on('error', (error) => {
      from.destroy()
      reject(error)
    })
    stream.on('close', () => {
      from.destroy()
      // A terminal is never finished.
      if (isatty(1) || to.writableFinished || to.destroyed) resolve(EXIT.ok)
      else to.on('finish', () => resolve(EXIT.ok))
    })
    from.pipe(stream)
    stream.pipe(to)
    if (!isWhole) return
    stream.on('end', () => {
      from.unpipe(stream)
      stream.end()
    })
  })
}
