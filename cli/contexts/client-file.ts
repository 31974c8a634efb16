import { readFileSync, type Stats, statSync } from 'node:fs'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { configDir, homeFolder } from '../../config/folders.ts'
import { JsonError, type JsonText, readJson } from '../../config/json-lines.ts'
import { isTree } from '../../config/nodes.ts'
import { isProfile, unknownProfile } from '../../config/profiles.ts'
import { addressOf } from '../../dial/addresses.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { nearest } from '../../protocol/nearest.ts'
import { REACH_FILES, REACH_KEYS, type ReachKey, type ReachOfContext } from '../reach.ts'
import { updateFile } from '../replace-file.ts'

/** One proxy as a person reaches it: `tunnel use NAME` chooses among these. */
export interface Context extends ReachOfContext {
  urls: [string, ...string[]]
  tokenFile?: string
  /** A program and its arguments, which prints a token; no shell reads it. */
  tokenCommand?: string[]
  /** What `tunnel login` keeps. */
  loginFile?: string
  profile?: string
}

/** The client's configuration file, for every command of one person. */
export interface ClientFile {
  /** The context that holds where none is named. */
  current?: string
  contexts: Map<string, Context>
  /** The machines that this account has enrolled with a code, and how their agents reach the proxy. */
  agents: Map<string, Context>
}

/** No file of a person's contexts comes near it; a wrong path (a log, a device) is not read whole. */
const MAX_BYTES = 1_048_576
const NAME = /^[a-z\d][\w.-]{0,62}$/i
export const CONTEXT_NAME_RULE =
  'a name has 1 to 63 letters, digits, ".", "_" and "-", and begins with a letter or digit'

export function isContextName(name: string): boolean {
  return NAME.test(name)
}

/** Where it is; undefined where there is no home folder. */
export function clientFilePath(env: NodeJS.ProcessEnv = process.env): string | undefined {
  const dir = configDir(env)
  return dir && join(dir, 'config.json')
}

/** What the file says; nothing where there is none. @throws {TunnelError} CONFIG_INVALID, with its name and the line */
export function readClientFile(path: string | undefined): ClientFile {
  const text = path === undefined ? undefined : readText(path)
  return text === undefined || text.trim() === '' ? emptyFile() : parseClientFile(text, path!)
}

function emptyFile(): ClientFile {
  return { contexts: new Map(), agents: new Map() }
}

function readText(path: string): string | undefined {
  try {
    const found = statSync(path, { throwIfNoEntry: false })
    if (found === undefined) return undefined
    const reason = unfit(found)
    if (reason !== undefined) throw refused(`${path} ${reason}`)
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof TunnelError) throw error
    const { code } = error as NodeJS.ErrnoException
    // A file that stands where a folder should is no configuration either.
    if (code === 'ENOTDIR') return undefined
    throw refused(`${path} cannot be read (${code})`, error)
  }
}

/** Whoever can write to the file decides which program is run for a token: ssh refuses such a configuration too. */
function unfit(found: Stats): string | undefined {
  if (!found.isFile()) return 'is not a plain file'
  if (found.size > MAX_BYTES) return `is longer than ${MAX_BYTES} bytes`
  const me = process.getuid?.()
  if (me === undefined) return undefined
  if (found.uid !== me && found.uid !== 0) return 'belongs to another user'
  return (found.mode & 0o022) === 0 ? undefined : 'can be written to by others (chmod go-w it)'
}

export function parseClientFile(text: string, path: string): ClientFile {
  let json: JsonText
  try {
    json = readJson(text)
  } catch (error) {
    if (!(error instanceof JsonError)) throw error
    throw refused(`${path}, ${error.message}`)
  }
  return new FileReader(json, path).read()
}

/** Takes a configuration file apart; the first mistake is told with its line. */
class FileReader {
  readonly #json: JsonText
  readonly #path: string

  constructor(json: JsonText, path: string) {
    this.#json = json
    this.#path = path
  }

  read(): ClientFile {
    const tree = this.#tree(this.#json.value, [], ['current', 'contexts', 'agents'])
    const file: ClientFile = {
      contexts: this.#contexts(tree.contexts, 'contexts'),
      agents: this.#contexts(tree.agents, 'agents'),
    }
    if (tree.current === undefined) return file
    const current = this.#text(tree.current, ['current'])
    if (!file.contexts.has(current))
      throw this.#wrong(['current'], unknownContext(current, file, LINE_TO_CHANGE))
    return { ...file, current }
  }

  #wrong(at: readonly string[], reason: string): TunnelError {
    return refused(`${this.#path}, line ${this.#json.lineOf(at)}: ${reason}`)
  }

  #tree(value: unknown, at: string[], known?: string[]): Record<string, unknown> {
    const name = at.join('.') || 'the file'
    if (!isTree(value)) throw this.#wrong(at, `${name} must be an object, { … }`)
    const strange = Object.keys(value).find((key) => known?.includes(key) === false)
    if (strange === undefined) return value
    const meant = nearest(strange, known!)
    const hint = meant === undefined ? `known are ${known!.join(', ')}` : `did you mean ${meant}?`
    throw this.#wrong([...at, strange], `there is no "${strange}" in ${name}; ${hint}`)
  }

  #text(value: unknown, at: string[]): string {
    if (typeof value === 'string' && value !== '') return value
    throw this.#wrong(at, `${at.join('.')} must be a text, and not empty`)
  }

  #contexts(value: unknown, section: string): Map<string, Context> {
    if (value === undefined) return new Map()
    const entries = Object.entries(this.#tree(value, [section])).map(([name, inner]) => {
      if (!isContextName(name))
        throw this.#wrong([section, name], `"${name}" is not a valid name: ${CONTEXT_NAME_RULE}`)
      return [name, this.#context(inner, [section, name])] as const
    })
    return new Map(entries)
  }

  #context(value: unknown, at: string[]): Context {
    const reach = Object.keys(REACH_KEYS) as ReachKey[]
    const known = ['url', 'tokenFile', 'tokenCommand', 'loginFile', 'profile', ...reach]
    const tree = this.#tree(value, at, known)
    const context: Context = { urls: this.#urls(tree.url, [...at, 'url']) }
    const sources = ['tokenFile', 'tokenCommand', 'loginFile'].filter((key) => tree[key] !== undefined)
    if (sources.length > 1)
      throw this.#wrong([...at, sources[1]!], `give ${sources.join(' or ')}, not ${sources.length} of them`)
    for (const key of ['loginFile', 'tokenFile'] as const)
      if (tree[key] !== undefined) context[key] = this.#file(this.#text(tree[key], [...at, key]))
    if (tree.tokenCommand !== undefined)
      context.tokenCommand = this.#words(tree.tokenCommand, [...at, 'tokenCommand'])
    if (tree.profile !== undefined) context.profile = this.#profile(tree.profile, [...at, 'profile'])
    for (const key of reach) {
      if (tree[key] === undefined) continue
      const text = this.#text(tree[key], [...at, key])
      context[key] = REACH_FILES.has(key) ? this.#file(text) : text
    }
    return context
  }

  #urls(value: unknown, at: string[]): Context['urls'] {
    const list = Array.isArray(value) ? value : [value]
    const [first, ...more] = list.map((url) => {
      const text = this.#text(url, at)
      try {
        addressOf(text)
      } catch (error) {
        throw this.#wrong(at, (error as Error).message)
      }
      return text
    })
    if (first === undefined) throw this.#wrong(at, 'an address of the proxy is missing')
    return [first, ...more]
  }

  #words(value: unknown, at: string[]): string[] {
    const isList = Array.isArray(value) && value.length > 0 && value[0] !== ''
    if (isList && value.every((word) => typeof word === 'string' && !word.includes('\0'))) return value
    throw this.#wrong(
      at,
      `${at.join('.')} must be a list of a program and its arguments: ["pass", "show", "tunnel"]`,
    )
  }

  /** Names are relative to the file's folder, and may begin with the home folder's sign. */
  #file(name: string): string {
    const home = homeFolder()
    if (name.startsWith('~/') && home !== undefined) return join(home, name.slice(2))
    return isAbsolute(name) ? name : resolve(dirname(this.#path), name)
  }

  #profile(value: unknown, at: string[]): string {
    const name = this.#text(value, at)
    if (isProfile(name)) return name
    throw this.#wrong(at, unknownProfile(name).reason)
  }
}

/** No command lists or changes contexts before the file is in order. */
const LINE_TO_CHANGE = 'name another as "current", or none'

export function unknownContext(name: string, { contexts }: ClientFile, advice?: string): string {
  const meant = nearest(name, contexts.keys())
  const way = advice ?? `\`tunnel use\` lists them, and \`tunnel use ${name} --url URL\` makes it`
  return `there is no context "${name}"; ${meant === undefined ? way : `did you mean ${meant}?`}`
}

/** Changes the file, of which several programs at once lose nothing; answers with what it says now. @throws {TunnelError} */
export async function changeClientFile(
  path: string,
  change: (file: ClientFile) => void,
): Promise<ClientFile> {
  // Looked at first: of a file that is not to be believed nothing is taken over.
  let file = readClientFile(path)
  await updateFile(path, (before) => {
    file = before?.toString().trim() ? parseClientFile(before.toString(), path) : emptyFile()
    change(file)
    return textOf(file)
  })
  return file
}

function textOf({ current, contexts, agents }: ClientFile): string {
  const plain = (entries: Map<string, Context>) =>
    Object.fromEntries(
      [...entries].map(([name, { urls, ...more }]) => [
        name,
        { url: urls.length === 1 ? urls[0] : urls, ...more },
      ]),
    )
  const tree = {
    ...(current !== undefined && { current }),
    contexts: plain(contexts),
    ...(agents.size > 0 && { agents: plain(agents) }),
  }
  return `${JSON.stringify(tree, null, 2)}\n`
}

export function refused(message: string, cause?: unknown): TunnelError {
  return new TunnelError('CONFIG_INVALID', message, { hop: 'client', cause })
}
