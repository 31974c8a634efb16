import { once } from 'node:events'
import { createReadStream, createWriteStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { PRIORITIES } from '../../protocol/codec/heads.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { withTunnel } from '../connect.ts'
import type { Definition } from '../definition.ts'
import { EXIT, LocalError, UsageError } from '../failure.ts'
import { signalStatus, stopSignal } from '../stop.ts'

interface RequestFlags extends CommonOptions {
  request?: string
  header?: string[]
  data?: string[]
  include?: boolean
  output?: string
  fail?: boolean
  location?: boolean
  maxTime?: string
  target?: string
  priority: string
  idempotent?: boolean
}

export const definition: Definition = {
  name: 'request',
  usage: '[options] http://MACHINE:PORT/path',
  does: [
    "One HTTP request to a service on a machine, with curl's habits; both bodies are streamed. Any HTTP status is",
    'a success (0) unless --fail is given; every other exit status comes from the tunnel.',
  ].join(' '),
  examples: [
    'tunnel request http://home:11434/api/tags',
    "tunnel request -d '{\"n\":1}' -H 'content-type: application/json' http://home:8080/jobs",
    'tunnel request -X PUT -d @backup.tar -o answer.json http://home:8080/backup',
  ],
  arguments: [
    {
      name: '<url>',
      does: 'http://MACHINE:PORT/path; the port is one of the machine itself; alice/home is home+alice here',
    },
  ],
  options: [
    { flags: '-X, --request <method>', does: 'method (default GET, or POST with --data)' },
    { flags: '-H, --header <line>', does: "'Name: value'; may be given again", repeats: true },
    {
      flags: '-d, --data <data>',
      does: 'body: text, @FILE, or @- for stdin; several are joined with &',
      repeats: true,
    },
    { flags: '-i, --include', does: 'print the status line and the headers first' },
    { flags: '-o, --output <file>', does: 'write the body there', values: 'file' },
    { flags: '-f, --fail', does: 'exit with 1 and without the body when the status is 400 or more' },
    { flags: '-L, --location', does: 'follow redirects on the same machine' },
    {
      flags: '-m, --max-time <seconds>',
      does: 'how long the answer may take to begin, once the body has been sent',
    },
    {
      flags: '--target <host:port>',
      does: "the service's address on the machine's side, such as '[::1]:8080'",
    },
    { flags: '--priority <priority>', does: PRIORITIES.join(', '), default: 'normal', values: PRIORITIES },
    { flags: '--idempotent', does: 'send it again when it is not known whether it was carried out' },
  ],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const flags = made.opts<RequestFlags>()
  const url = checkUrl(made.args[0] ?? '')
  const priority = PRIORITIES.find((known) => known === flags.priority)
  if (priority === undefined)
    throw new UsageError(`--priority is one of ${PRIORITIES.join(', ')}, not "${flags.priority}"`)
  const body = await bodyOf(flags.data, isChunked(flags.header))
  const method = flags.request ?? (body === undefined ? 'GET' : 'POST')
  if (!/^[\w!#$%&'*+.^`|~-]{1,32}$/.test(method)) throw new UsageError(`"${method}" is not a valid method`)
  if (/^(CONNECT|TRACE|TRACK)$/i.test(method)) throw new UsageError(`${method} cannot be sent as a request`)
  if (body !== undefined && /^(GET|HEAD)$/i.test(method))
    throw new UsageError(`${method} cannot carry a body: leave --data out, or use another method`)
  const init = {
    method,
    headers: headersOf(flags.header, body),
    redirect: flags.location === true ? 'follow' : 'manual',
    priority,
    ...(body !== undefined && { body: body.content }),
    ...(flags.target !== undefined && { target: flags.target }),
    ...(flags.idempotent === true && { idempotent: true }),
    ...(flags.maxTime !== undefined && { timeoutMs: millisecondsOf(flags.maxTime) }),
  } as const
  return withTunnel(flags, async (tunnel) => {
    const abort = new AbortController()
    const stopped = stopSignal()
    void stopped.then(() => abort.abort())
    try {
      return await show(await tunnel.fetch(url, { ...init, signal: abort.signal }), flags)
    } catch (error) {
      if (abort.signal.aborted) return signalStatus(await stopped)
      throw error
    }
  })
}

function checkUrl(text: string): string {
  // curl's habit: the scheme may be left out.
  const url = /^[a-z]+:\/\//i.test(text) ? text : `http://${text}`
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  if (parsed !== undefined && `${parsed.username}${parsed.password}` !== '')
    throw new UsageError("the address takes no name and password: give -H 'Authorization: …'")
  if (parsed?.protocol === 'http:') return url
  const hint =
    parsed?.protocol === 'https:' ? ': the machine is reached in plain HTTP, inside the tunnel' : ''
  throw new UsageError(`the address must look like http://MACHINE:PORT/path, not "${text}"${hint}`)
}

function millisecondsOf(text: string): number {
  const seconds = Number(text)
  if (text.trim() !== '' && seconds > 0 && seconds <= 86_400) return Math.ceil(seconds * 1_000)
  throw new UsageError(`--max-time takes seconds, not "${text}"`)
}

/** A request's body, and its length in bytes where that is known before it is read. */
interface Body {
  content: string | Uint8Array | ReadableStream
  byteCount?: number
}

/** Up to this stdin is read before the request is sent, so that the request says its length, in bytes. */
const MAX_BUFFERED_BYTES = 1_048_576

function headersOf(lines: string[] = [], body: Body | undefined): Headers {
  const headers = new Headers({ accept: '*/*' })
  // curl's habit: what --data gives is a form unless a header says otherwise.
  if (body !== undefined) headers.set('content-type', 'application/x-www-form-urlencoded')
  if (body?.byteCount !== undefined) headers.set('content-length', String(body.byteCount))
  const seen = new Set<string>()
  for (const line of lines) {
    const at = line.indexOf(':')
    const name = line.slice(0, at).trim().toLowerCase()
    // A header is bytes, and a terminal's are UTF-8.
    const value = Buffer.from(line.slice(at + 1).trim()).toString('latin1')
    try {
      if (at < 1) throw new TypeError('no colon')
      // A default gives way to the first of its name; more of the same name are added.
      if (seen.has(name)) headers.append(name, value)
      else headers.set(name, value)
    } catch {
      throw new UsageError(`a header is 'Name: value', not "${line}"`)
    }
    seen.add(name)
  }
  return headers
}

/** curl's way to say that the body is to be sent as it comes. */
function isChunked(lines: string[] = []): boolean {
  return lines.some((line) => /^transfer-encoding:\s*chunked\s*$/i.test(line))
}

/** Text as it is, a file as a stream of known length, stdin whole where it is small. */
async function bodyOf(parts: string[] | undefined, chunked: boolean): Promise<Body | undefined> {
  if (parts === undefined) return undefined
  const file = parts.find((part) => part.startsWith('@'))
  if (file === undefined) return { content: parts.join('&') }
  if (parts.length > 1) throw new UsageError('--data @FILE cannot be combined with another --data')
  if (file === '@-') return chunked ? { content: webStream(process.stdin) } : await stdinBody()
  const path = file.slice(1)
  const found = await stat(path).catch(() => undefined)
  if (found === undefined || found.isDirectory()) throw new UsageError(`the file ${path} does not exist`)
  if (chunked || !found.isFile()) return { content: webStream(createReadStream(path)) }
  if (found.size === 0) return { content: '' }
  // What is appended meanwhile is not part of it.
  return { content: webStream(createReadStream(path, { end: found.size - 1 })), byteCount: found.size }
}

async function stdinBody(): Promise<Body> {
  const chunks: Buffer[] = []
  let byteCount = 0
  const rest = process.stdin[Symbol.asyncIterator]()
  while (byteCount <= MAX_BUFFERED_BYTES) {
    const { done, value } = await rest.next()
    if (done === true) return { content: Buffer.concat(chunks) }
    const chunk = Buffer.from(value as Buffer)
    chunks.push(chunk)
    byteCount += chunk.length
  }
  async function* all(): AsyncGenerator<Buffer> {
    yield* chunks
    for (let next = await rest.next(); next.done !== true; next = await rest.next())
      yield next.value as Buffer
  }
  return { content: webStream(Readable.from(all())) }
}

function webStream(readable: Readable): ReadableStream {
  return Readable.toWeb(readable) as ReadableStream
}

async function show(response: Response, flags: RequestFlags): Promise<number> {
  if (flags.fail === true && response.status >= 400) {
    await response.body?.cancel()
    const status = `${response.status} ${response.statusText}`.trim()
    throw new LocalError('HTTP_STATUS', `the service answered ${status}`, '')
  }
  const out =
    flags.output === undefined || flags.output === '-' ? process.stdout : createWriteStream(flags.output)
  if (out !== process.stdout) await opened(out, flags.output ?? '')
  if (flags.include === true) {
    const lines = [...response.headers].map(([name, value]) => `${name}: ${value}\r\n`)
    out.write(`HTTP/1.1 ${response.status} ${response.statusText}\r\n${lines.join('')}\r\n`)
  }
  const body = response.body === null ? Readable.from([]) : Readable.fromWeb(response.body as never)
  await pipeline(body, out, { end: out !== process.stdout })
  return EXIT.ok
}

async function opened(file: Writable, name: string): Promise<void> {
  try {
    await once(file, 'open')
  } catch (cause) {
    throw new TunnelError('ABORTED', `cannot write ${name}`, { cause, hop: 'client' })
  }
}
