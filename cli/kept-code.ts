import { isAscii } from 'node:buffer'
import { createHash } from 'node:crypto'
import { closeSync, fstatSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import module from 'node:module'
import { basename, dirname, join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import vm from 'node:vm'
import { makeFolder } from '../protocol/node/folders.ts'

/** Of the SHA-256 of both, which stands before what was compiled: V8 compares the source's length alone. */
const HASH_BYTES = 32

/**
 * Runs a CommonJS file as `require` does, with what V8 made of it at the last start: compiling takes longer than running.
 * From 22.8 on Node does the same by itself.
 * @param folder where it is kept; a file there that is not to be used or cannot be written is no error
 * @param use another use of the file has other functions compiled
 */
export function runKept(path: string, folder: string | undefined, use: string): void {
  const source = readFileSync(path)
  const kept = folder && join(folder, `${basename(path)}-${use}-${process.version}-${process.arch}`)
  const cachedData = kept === undefined ? undefined : read(kept, source)
  // Bundles are ASCII, and need no decoding.
  const text = source.toString(isAscii(source) ? 'latin1' : 'utf8')
  const script = new vm.Script(`(function (exports, require, module, __filename, __dirname) {${text}\n})`, {
    filename: path,
    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
    ...(cachedData !== undefined && { cachedData }),
  })
  if (kept !== undefined && (cachedData === undefined || script.cachedDataRejected === true)) {
    // At the end, when everything that is used has been compiled.
    process.once('exit', (status) => {
      if (status === 0) keep(kept, source, script)
    })
  }
  const own = { exports: {} }
  script.runInThisContext()(own.exports, module.createRequire(path), own, path, dirname(path))
}

/** Nothing where another user may have written it: what it holds is run. */
function read(path: string, source: Buffer): Buffer | undefined {
  let file: number | undefined
  try {
    file = openSync(path, 'r')
    const { uid, mode } = fstatSync(file)
    if (uid !== (process.getuid?.() ?? uid) || (mode & 0o022) !== 0) return undefined
    const content = readFileSync(file)
    const compiled = content.subarray(HASH_BYTES)
    return content.subarray(0, HASH_BYTES).equals(hashOf(source, compiled)) ? compiled : undefined
  } catch {
    return undefined
  } finally {
    if (file !== undefined) closeSync(file)
  }
}

function hashOf(source: Buffer, compiled: Buffer): Buffer {
  return createHash('sha256').update(source).update(compiled).digest()
}

/** A full disk takes the name of a file, and not what is in it. */
function forget(path: string): void {
  try {
    rmSync(path, { force: true })
  } catch {
    // The folder cannot be written at all, and so holds nothing of ours.
  }
}

function keep(path: string, source: Buffer, script: vm.Script): void {
  const written = `${path}.${process.pid}`
  try {
    makeFolder(dirname(path))
    // V8 takes it back only with the flags that it starts with (cli/collector.ts).
    setFlagsFromString('--incremental-marking')
    const compiled = script.createCachedData()
    writeFileSync(written, Buffer.concat([hashOf(source, compiled), compiled]), { mode: 0o600 })
    renameSync(written, path)
  } catch {
    // The next start compiles again.
    forget(written)
  }
}
