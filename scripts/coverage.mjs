// Which lines of the sources the tests have run, in their own processes and in those that they start. Node writes what
// V8 has counted when a process ends; here it is led back to the sources. Lines of processes that were killed are not
// seen, and a line counts as run when anything on it was.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { transformSync } from 'esbuild'
import { decodeMappings } from './source-map.mjs'

/** Every so often what has been written is counted and removed, in ms: a whole run writes more than a gigabyte. */
const TAKE_MS = 2_000

export class Coverage {
  /** For NODE_V8_COVERAGE. */
  folder
  #root
  #timer
  /** Compiled file → { covered: Uint8Array, text, map } */
  #scripts = new Map()

  /** @param {string} root @param {string} folder its own, below the root */
  constructor(root, folder) {
    this.#root = root
    this.folder = join(root, folder)
    mkdirSync(this.folder, { recursive: true })
    this.#timer = setInterval(() => this.#take(), TAKE_MS).unref()
  }

  /** Ends the counting. @returns {{ folder: string, lines: number, covered: number }[]} by folder, sorted */
  finish() {
    clearInterval(this.#timer)
    this.#take()
    const covered = new Map()
    for (const [path, script] of this.#scripts) this.#toSources(path, script, covered)
    const folders = new Map()
    for (const [file, lines] of linesOfSources(this.#root)) {
      const name = folderOf(file)
      const sum = folders.get(name) ?? { folder: name, lines: 0, covered: 0 }
      const run = covered.get(file)
      // What a bundle leaves out of a file that it uses is not counted.
      const known = run === undefined ? lines : lines.filter((line) => run.has(line))
      sum.lines += known.length
      sum.covered += known.filter((line) => run?.get(line)).length
      folders.set(name, sum)
    }
    return [...folders.values()].sort((a, b) => (a.folder < b.folder ? -1 : 1))
  }

  #take() {
    for (const name of readdirSync(this.folder)) {
      const path = join(this.folder, name)
      let report
      try {
        report = JSON.parse(readFileSync(path, 'utf8'))
      } catch {
        continue // it is still being written
      }
      rmSync(path)
      for (const { url, functions } of report.result) {
        if (url.startsWith('file:')) this.#count(fileURLToPath(url), functions)
      }
    }
  }

  #count(path, functions) {
    const script = this.#scripts.get(path) ?? this.#load(path)
    if (script === undefined) return
    // Outer ranges come before inner ones.
    const now = new Uint8Array(script.text.length)
    for (const { ranges } of functions) {
      for (const { startOffset, endOffset, count } of ranges)
        now.fill(count > 0 ? 1 : 0, startOffset, endOffset)
    }
    for (let at = 0; at < now.length; at++) script.covered[at] |= now[at]
  }

  /** Ours and compiled, or nothing: what packages and tests' own programs run is not counted. */
  #load(path) {
    const from = relative(this.#root, path)
    if (!/^(dist|\.tests)[\\/]/.test(from) || !existsSync(`${path}.map`)) return undefined
    const text = readFileSync(path, 'utf8')
    const script = { text, covered: new Uint8Array(text.length) }
    this.#scripts.set(path, script)
    return script
  }

  #toSources(path, { text, covered }, into) {
    const starts = lineStarts(text)
    forEachMapping(path, (line, column, file, sourceLine) => {
      const name = relative(this.#root, file)
      const lines = into.get(name) ?? new Map()
      into.set(name, lines)
      if (covered[starts[line] + column] === 1) lines.set(sourceLine, true)
      else if (!lines.has(sourceLine)) lines.set(sourceLine, false)
    })
  }
}

/** Every source that is shipped, and its lines that are code: those that something is compiled to. */
function linesOfSources(root) {
  const { include } = JSON.parse(readFileSync(join(root, 'tsconfig.build.json'), 'utf8'))
  const names = include.flatMap((name) =>
    name.endsWith('.ts')
      ? [name]
      : readdirSync(join(root, name), { recursive: true }).map((below) => join(name, below)),
  )
  const found = new Map()
  for (const name of names.filter((each) => each.endsWith('.ts'))) {
    const source = readFileSync(join(root, name), 'utf8')
    const { map } = transformSync(source, { loader: 'ts', target: 'node20', sourcemap: 'external' })
    const lines = new Set()
    decodeMappings(JSON.parse(map).mappings, (_line, _column, _source, sourceLine) => lines.add(sourceLine))
    if (lines.size > 0) found.set(name, [...lines])
  }
  return found
}

function forEachMapping(path, each) {
  const { mappings, sources, sourceRoot = '' } = JSON.parse(readFileSync(`${path}.map`, 'utf8'))
  const files = sources.map((source) => resolve(dirname(path), sourceRoot, source))
  decodeMappings(mappings, (line, column, source, sourceLine) =>
    each(line, column, files[source], sourceLine),
  )
}

function lineStarts(text) {
  const starts = [0]
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) starts.push(at + 1)
  return starts
}

/** Plugins and the wings of the protocol each have a row of their own. */
function folderOf(file) {
  const parts = file.split(sep)
  if (parts.length === 1) return file
  const deep = parts[0] === 'plugins' || parts[0] === 'protocol'
  return parts.slice(0, deep && parts.length > 2 ? 2 : 1).join('/')
}

const percent = ({ lines, covered }) => (lines === 0 ? 100 : (100 * covered) / lines)

/** Prints the table and its sum. @returns {boolean} whether the sum is at least `floor` percent */
export function printCoverage(rows, floor) {
  const total = { folder: 'all', lines: 0, covered: 0 }
  for (const { lines, covered } of rows) {
    total.lines += lines
    total.covered += covered
  }
  console.log('\nlines run   of     by folder')
  for (const row of [...rows, total]) {
    console.log(`${percent(row).toFixed(1).padStart(7)} % ${String(row.lines).padStart(6)}  ${row.folder}`)
  }
  const ok = percent(total) >= floor
  console.log(`coverage: ${percent(total).toFixed(1)} % of ${total.lines} lines, at least ${floor} % wanted`)
  return ok
}
