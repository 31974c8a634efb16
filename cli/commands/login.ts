import { type CommonOptions, command, parse } from '../command.ts'
import {
  CONTEXT_NAME_RULE,
  clientFilePath,
  isContextName,
  readClientFile,
  refused,
} from '../contexts/client-file.ts'
import { accessFrom } from '../credentials.ts'
import { ACCESS_OPTIONS, type Definition } from '../definition.ts'
import { EXIT, UsageError } from '../failure.ts'
import type { KeptLogin } from '../login/kept-login.ts'
import { visible } from '../output.ts'
import { tell, tellAside } from '../prose.ts'
import { untilStopped } from '../stop.ts'
import { tellStopped } from '../stopped.ts'

/** The context that is made where none is named. */
const DEFAULT_CONTEXT = 'default'

export const definition: Definition = {
  name: 'login',
  does: [
    'Logs in at the issuer that the proxy names: it shows an address and a code, which you confirm in a browser on any',
    'computer (RFC 8628). The tokens are kept in a file of yours alone, are renewed when they are used, and belong to a',
    'context, which every command uses from then on.',
  ].join(' '),
  examples: [
    'tunnel login --url https://tunnel.example.com',
    'tunnel login work --url https://tunnel.example.com',
  ],
  reaches: false,
  arguments: [{ name: '[name]', does: 'of the context; by default the one in use', values: 'context' }],
  options: ACCESS_OPTIONS.filter(({ flags }) => /^--(url|context) /.test(flags)),
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const options = made.opts<CommonOptions>()
  const path = clientFilePath()
  if (path === undefined)
    throw refused('there is no home folder to keep the login in: set HOME or XDG_CONFIG_HOME')
  const [given] = made.args
  if (given !== undefined && !isContextName(given))
    throw new UsageError(`"${given}" is not a valid name: ${CONTEXT_NAME_RULE}`)
  const isKnown = given !== undefined && readClientFile(path).contexts.has(given)
  const access = accessFrom(isKnown ? { ...options, context: given } : options)
  const name = given ?? access.context ?? DEFAULT_CONTEXT
  const { Attempt } = await import('../login/attempt.ts')
  const stop = new AbortController()
  const attempt = new Attempt(access, { path, name }, stop.signal)
  const json = options.json === true
  const work = async (): Promise<number> => {
    const login = await attempt.run(({ url, code }) => {
      if (json) process.stderr.write(`${JSON.stringify({ prompt: { url, code } })}\n`)
      else tellAside(`Open ${visible(url)}\nand confirm the code ${visible(code)}. Waiting…\n`)
    })
    if (!stop.signal.aborted)
      report(login, { context: name, urls: access.urls, loginFile: attempt.file }, json)
    return EXIT.ok
  }
  const status = await untilStopped(work(), stop, () => attempt.graceMs)
  if (stop.signal.aborted) tellStopped('tunnel login', { status, left: attempt.left, json })
  return status
}

interface Kept {
  context: string
  urls: readonly string[]
  loginFile: string
}

function report({ issuer, refreshToken, expiresAtMs }: KeptLogin, kept: Kept, json: boolean): void {
  const { context, urls, loginFile } = kept
  if (json) return void process.stdout.write(`${JSON.stringify({ context, urls, issuer, loginFile })}\n`)
  const lasts = refreshToken === undefined ? `until ${new Date(expiresAtMs).toISOString()}` : 'and renewed'
  tell(`${context} is used now: ${urls.join(', ')}, logged in at ${visible(issuer)} ${lasts}\n`)
}
