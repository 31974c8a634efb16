import { askLoginPlace, askMachines } from '../api.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import {
  CONTEXT_NAME_RULE,
  changeClientFile,
  clientFilePath,
  isContextName,
  readClientFile,
  refused,
} from '../contexts/client-file.ts'
import { dropToken, keptLogin } from '../contexts/keep-token.ts'
import { accessFrom } from '../credentials.ts'
import { ACCESS_OPTIONS, type Definition } from '../definition.ts'
import { EXIT, UsageError } from '../failure.ts'
import { visible } from '../output.ts'
import { tell, tellAside } from '../prose.ts'

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
  const place = await askLoginPlace(access)
  const [{ endReplaced }, { logIn }, { findLogin, keepLogin }] = await Promise.all([
    import('../login/end-login.ts'),
    import('../login/issuer.ts'),
    import('../login/kept-login.ts'),
  ])
  const tokens = await logIn(place, ({ url, code }) => {
    if (options.json === true) process.stderr.write(`${JSON.stringify({ prompt: { url, code } })}\n`)
    else tellAside(`Open ${visible(url)}\nand confirm the code ${visible(code)}. Waiting…\n`)
  })
  // What the proxy does not take is not kept.
  await askMachines({ ...access, token: tokens.accessToken })
  const file = keptLogin(path, name)
  const [before, login] = [findLogin(file), { ...place, ...tokens }]
  dropToken(path, name)
  await keepLogin(file, login)
  await changeClientFile(path, (configured) => {
    const { tokenFile: _file, tokenCommand: _command, ...known } = configured.contexts.get(name) ?? {}
    configured.contexts.set(name, { ...known, urls: access.urls, loginFile: file })
    configured.current = name
  })
  await endReplaced(before, login)
  const lasts =
    tokens.refreshToken === undefined ? `until ${new Date(tokens.expiresAtMs).toISOString()}` : 'and renewed'
  const told = { context: name, urls: access.urls, issuer: place.issuer, loginFile: file }
  const text = `${name} is used now: ${access.urls.join(', ')}, logged in at ${visible(place.issuer)} ${lasts}\n`
  if (options.json === true) process.stdout.write(`${JSON.stringify(told)}\n`)
  else tell(text)
  return EXIT.ok
}
