import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import type { ReadableStream } from 'node:stream/web'
import { addressesOf } from '../../dial/addresses.ts'
import { fetchFromProxy } from '../../dial/api.ts'
import { MAX_TIMER_MS, TunnelError } from '../../protocol/codec/errors.ts'
import { problemOf } from '../../protocol/link/dial-failure.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { accessFrom } from '../credentials.ts'
import type { Definition } from '../definition.ts'
import { EXIT } from '../failure.ts'
import { byteText, visible } from '../output.ts'
import { tellAside } from '../prose.ts'
import { fetchOf } from '../reach.ts'
import { aboutSession, sessionId } from '../session-id.ts'

/** A line of the proxy's route. */
interface Shown {
  direction?: 'in' | 'out' | 'aux'
  data?: string
  missedBytes?: number
  over?: boolean
  code?: string
  message?: string
}

export const definition: Definition = {
  name: 'sessions watch',
  does: [
    'Shows what an open stream brings from the machine, as it comes, until the stream ends or you press Ctrl-C: a stream of',
    'yours, or of any user with a token of the role admin. It must be inspected: what `tunnel ssh` and `tunnel stdio` carry',
    'is sealed, and the proxy cannot read it. You cannot type. The proxy records who watches, and `tunnel sessions` shows it',
    'to the user. Bytes are written unchanged: the program there can do to your terminal what it can do to its own.',
  ].join(' '),
  examples: [
    'tunnel sessions watch 0f3a5c7be1d94e2f8a6b0c1d2e3f4a5b',
    'tunnel sessions watch --input 0f3a… | cat -v',
  ],
  arguments: [{ name: '<id>', does: 'as `tunnel sessions` shows it' }],
  options: [{ flags: '--input', does: 'show what goes to the machine instead; --json shows both' }],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const options = made.opts<CommonOptions & { input?: boolean }>()
  const access = accessFrom(options)
  const response = await fetchFromProxy(addressesOf(access.urls), {
    route: `sessions/${sessionId(made.args[0])}/watch`,
    token: access.token,
    // Whoever looks on stays.
    timeoutMs: MAX_TIMER_MS,
    // It is recorded, and only one replica can show it.
    oneByOne: true,
    fetch: await fetchOf(access),
  })
  if (!response.ok || response.body === null)
    throw aboutSession(problemOf(await response.text()) ?? noProxy())
  const directions = options.input === true ? ['in'] : ['out', 'aux']
  const input = Readable.fromWeb(response.body as ReadableStream)
  for await (const line of createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })) {
    if (options.json === true) process.stdout.write(`${line}\n`)
    const shown = JSON.parse(line) as Shown
    if (shown.over === true) {
      if (options.json !== true) tellOver(shown)
      return EXIT.ok
    }
    if (options.json === true) continue
    const { direction = '', data = '', missedBytes } = shown
    if (missedBytes !== undefined)
      process.stderr.write(`\n[${byteText(missedBytes)} were too much to show]\n`)
    if (directions.includes(direction)) process.stdout.write(Buffer.from(data, 'base64'))
  }
  const text = 'the proxy shows no more of the stream'
  throw new TunnelError('CONNECT_REFUSED', text, { hop: 'proxy' })
}

function tellOver({ code, message = '' }: Shown): void {
  tellAside(
    code === undefined ? 'the stream is over\n' : `the stream is over: ${visible(message)} (${code})\n`,
  )
}

function noProxy(): TunnelError {
  return new TunnelError('CONNECT_REFUSED', 'what answers there is not a tunnel proxy', { hop: 'proxy' })
}
