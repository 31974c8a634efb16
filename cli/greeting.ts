import { shellWord } from '../client/shell-words.ts'
import { defaultStateDir, type LoadedSettings } from '../config/index.ts'
import { packageVersion } from '../dial/software.ts'
import { DEFAULT_URL } from './credentials.ts'
import { paint } from './output.ts'
import { calledAs } from './self.ts'

/** What a person at a terminal is told of a proxy that has started: where it is, and what to type next. */
export function greeting({ profile, settings }: LoadedSettings, port: number): string {
  const { bold, dim, cyan } = paint(process.stderr)
  const { host, tls } = settings.server
  const name = host.includes(':') ? `[${host}]` : host
  const url = `${tls === undefined ? 'http' : 'https'}://${name}:${port}`
  // What differs from the defaults has to be told to the other two commands as well.
  const env: string[] = []
  if (settings.state.dir !== defaultStateDir()) env.push(`TUNNEL_STATE_DIR=${shellWord(settings.state.dir)} `)
  if (url !== DEFAULT_URL) env.push(`TUNNEL_URL=${url} `)
  const type = (line: string): string => `  ${dim('$')} ${env.join('')}${cyan(line)}\n`
  return [
    `${bold(`tunnel ${packageVersion()}`)}: the proxy listens on ${bold(url)}\n`,
    dim(`profile ${profile}, state in ${settings.state.dir}, Ctrl-C stops it\n`),
    `\nNext, in two other terminals${calledAs() === 'tunnel' ? '' : ', in this folder'}:\n`,
    type(`${calledAs()} agent --machine home`),
    type(`${calledAs()} ssh home`),
  ].join('')
}
