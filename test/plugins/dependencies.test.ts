import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

const PLUGINS = join(import.meta.dirname, '..', '..', 'plugins')

interface Folder {
  folder: string
  /** The source of all its files, without comments. */
  code: string
  names: string[]
  dependencies: string[]
  decorators: string[]
}

function matches(code: string, pattern: RegExp): string[] {
  return [...new Set([...code.matchAll(pattern)].map(([, found = '']) => found))]
}

function readFolder(folder: string): Folder {
  const files = readdirSync(join(PLUGINS, folder), { recursive: true, encoding: 'utf8' })
  const code = files
    .filter((file) => file.endsWith('.ts'))
    .map((file) => readFileSync(join(PLUGINS, folder, file), 'utf8'))
    .join('\n')
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '')
  // A list may be written as several that are spread.
  const lists = matches(code, /dependencies: \[((?:\[[^\]]*\]|[^[\]])*)\]/g)
  return {
    folder,
    code,
    names: matches(code, /name: '(tunnel-[\w-]+)'/g),
    dependencies: lists.flatMap((list) => matches(list, /'([^']+)'/g)),
    decorators: matches(code, /\bdecorate(?:Request)?\(\s*'(\w+)'/g),
  }
}

const FOLDERS = readdirSync(PLUGINS, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => readFolder(name))

/** Which folder makes a decorator. */
const MAKERS = new Map(FOLDERS.flatMap((folder) => folder.decorators.map((name) => [name, folder] as const)))

/** What `code` uses of an application, whatever that is called there, and what it has it given as services. */
function usedBy(code: string): string[] {
  const direct = matches(code, /\b(?:app|server|scope|routes)\??\.(\w+)/g)
  const given = matches(code, /Pick<\s*FastifyInstance,([^>]*)>/g).flatMap((names) =>
    matches(names, /'(\w+)'/g),
  )
  return [...direct, ...given].filter((name) => MAKERS.has(name))
}

test('the reader of plugins finds what they make, need and use', () => {
  const links = FOLDERS.find(({ folder }) => folder === 'links')
  assert.ok(links)
  assert.deepEqual(links.names, ['tunnel-links'])
  assert.ok(links.dependencies.includes('tunnel-lifecycle'))
  assert.ok(usedBy(links.code).includes('lifecycle'))
  assert.ok(MAKERS.size > 12, `${MAKERS.size} decorators were found`)
})

test('a plugin names in its dependencies whatever it uses', () => {
  const missing = FOLDERS.flatMap((user) =>
    usedBy(user.code).flatMap((decorator) => {
      const maker = MAKERS.get(decorator)
      if (maker === undefined || maker === user) return []
      return maker.names.some((name) => user.dependencies.includes(name))
        ? []
        : [`${user.folder} uses ${decorator} of ${maker.folder}`]
    }),
  )
  assert.deepEqual(missing, [])
})

test('what is there when a server is ready is not asked whether it is there', () => {
  const ghosts = FOLDERS.flatMap(({ folder, code }) =>
    matches(code, /\b(?:app|server|scope)\.(\w+)\?\./g)
      .filter((name) => MAKERS.has(name))
      .map((name) => `${folder}: ${name}?.`),
  )
  assert.deepEqual(ghosts, [])
})

/**
 * What every request goes through, whoever answers it: these add hooks to all routes, and that is their duty. `sockets`
 * ends the connection of a body that does not come to its end, which no route may forget; `errors` refuses what two parties
 * could read differently; `tracing` tells of all of them; `links` has to know who else is there.
 */
const FOR_ALL_ROUTES = ['logging', 'upgrade', 'sockets', 'errors', 'tracing', 'links']

test('a plugin with routes keeps them, and the hooks that guard them, in a scope of its own', () => {
  const open = FOLDERS.filter(({ folder, code }) => {
    const isRequestHook =
      /\bapp\.addHook\(\s*'(onRequest|pre[HPSV]\w+|on(Send|Response|Error|Timeout))'/.test(code)
    const hasRoutes = /\bapp\.(get|post|put|patch|delete|route|all)\b[<(]/.test(code)
    const isOpen = !code.includes('encapsulate: true')
    return isOpen && (hasRoutes || (isRequestHook && !FOR_ALL_ROUTES.includes(folder)))
  })
  assert.deepEqual(
    open.map(({ folder }) => folder),
    [],
  )
})
