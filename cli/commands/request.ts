import { once } from 'node:events'
import { createReadStream, createWriteStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { type CommonOptions, collect, command, parse } from '../command.ts'
import { withTunnel } from '../connect.ts'
import { EXIT, UsageError } from '../failure.ts'
import { signalStatus, stopSignal } from '../stop.ts'

const PRIORITIES = ['high', 'normal', 'low'] as const

interface RequestFlags extends CommonOptions {
  request?: string
  header?: string[]
  data?: string[]
  include?: boolean
  output?: string
  fail?: boolean
  location?: boolean
  maxTime?: string
  priority: string
  idempotent?: boolean
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(
    command({
      usage: 'request [options] http://MACHINE:PORT/path',
      does: [
        "One HTTP request to a service on a machine, with curl's habits; both bodies are streamed.",
        'Any HTTP status is a success (0) unless --fail is given; other statuses tell of the tunnel.',
      ].join(' '),
      examples: [
        'tunnel request http://home:11434/api/tags',
        "tunnel request -d '{\"n\":1}' -H 'content-type: application/json' http://home:8080/jobs",
        'tunnel request -X PUT -d @backup.tar -o answer.json http://home:8080/backup',
      ],
    })
      .argument('<url>', 'http://MACHINE:PORT/path; the port is one of the machine itself')
      .option('-X, --request <method>', 'method (default GET, or POST with --data)')
      .option('-H, --header <line>', "'Name: value'; may be given again", collect)
      .option('-d, --data <data>', 'body: text, @FILE, or @- for stdin; several are joined with &', collect)
      .option('-i, --include', 'print the status line and the headers first')
      .option('-o, --output <file>', 'write the body there')
      .option('-f, --fail', 'exit with 1 and without the body when the status is 400 or more')
      .option('-L, --location', 'follow redirects on the same machine')
      .option('-m, --max-time <seconds>', 'how long the answer may take to begin')
      .option('--priority <priority>', PRIORITIES.join(', '), 'normal')
      .option('--idempotent', 'may be sent again when nobody knows whether it was carried out'),
    argv,
  )
  if (made === undefined) return EXIT.ok
  const flags = made.opts<RequestFlags>()
  const url = checkUrl(made.args[0] ?? '')
  const priority = PRIORITIES.find((known) => known === flags.priority)
  if (priority === undefined)
    throw new UsageError(`--priority is one of ${PRIORITIES.join(', ')}, not "${flags.priority}"`)
  const body = await bodyOf(flags.data)
  const method = flags.request ?? (body === undefined ? 'GET' : 'POST')
  if (!/^[\w!#$%&'*+.^`|~-]{1,32}$/.test(method)) throw new UsageError(`"${method}" is no method`)
  if (/^(CONNECT|TRACE|TRACK)$/i.test(method)) throw new UsageError(`${method} cannot be sent as a request`)
  if (body !== undefined && /^(GET|HEAD)$/i.test(method))
    throw new UsageError(`${method} has no body here: leave --data out, or use another method`)
  const init = {
    method,
    headers: headersOf(flags.header, typeof body === 'string'),
    redirect: flags.location === true ? 'follow' : 'manual',
    priority,
    ...(body !== undefined && {
      body: typeof body === 'string' ? body : (Readable.toWeb(body) as ReadableStream),
    }),
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
  throw new UsageError(`the address must look like http://MACHINE:PORT/path, not "${text}"`)
}

function millisecondsOf(text: string): number {
  const seconds = Number(text)
  if (text.trim() !== '' && seconds > 0 && seconds <= 86_400) return Math.ceil(seconds * 1_000)
  throw new UsageError(`--max-time takes seconds, not "${text}"`)
}

function headersOf(lines: string[] = [], isText: boolean): Headers {
  const headers = new Headers({ accept: '*/*' })
  if (isText) headers.set('content-type', 'application/x-www-form-urlencoded')
  const seen = new Set<string>()
  for (const line of lines) {
    const at = line.indexOf(':')
    const name = line.slice(0, at).trim().toLowerCase()
    try {
      if (at < 1) throw new TypeError('no colon')
      // A default gives way to the first of its name; more of the same name are added.
      if (seen.has(name)) headers.append(name, line.slice(at + 1).trim())
      else headers.set(name, line.slice(at + 1).trim())
    } catch {
      throw new UsageError(`a header is 'Name: value', not "${line}"`)
    }
    seen.add(name)
  }
  return headers
}

/** Text as it is, files and stdin as streams. */
async function bodyOf(parts: string[] | undefined): Promise<string | Readable | undefined> {
  if (parts === undefined) return undefined
  const file = parts.find((part) => part.startsWith('@'))
  if (file === undefined) return parts.join('&')
  if (parts.length > 1) throw new UsageError('--data @FILE stands alone')
  if (file === '@-') return process.stdin
  const found = await stat(file.slice(1)).catch(() => undefined)
  if (found?.isFile() !== true) throw new UsageError(`there is no file ${file.slice(1)}`)
  return createReadStream(file.slice(1))
}

async function show(response: Response, flags: RequestFlags): Promise<number> {
  if (flags.fail === true && response.status >= 400) {
    await response.body?.cancel()
    const status = `${response.status} ${response.statusText}`.trim()
    process.stderr.write(`tunnel request: the service answered ${status}\n`)
    return EXIT.failure
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
