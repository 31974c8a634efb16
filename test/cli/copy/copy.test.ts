import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { Checksums } from '../../../cli/copy/checksums.ts'
import { type CopyRequest, type CopyResult, copy } from '../../../cli/copy/copy.ts'
import { FarFiles } from '../../../cli/copy/far-files.ts'
import { type Files, PIECE_BYTES } from '../../../cli/copy/files.ts'
import { Lanes } from '../../../cli/copy/lanes.ts'
import { SPREAD_BYTES } from '../../../cli/copy/move-bytes.ts'
import { nearFiles } from '../../../cli/copy/near-files.ts'
import { PART_SUFFIX } from '../../../cli/copy/part-file.ts'
import type { Copied, Unfinished } from '../../../cli/copy/transfer.ts'
import type { FileError, TunnelService } from '../../../client/index.ts'
import { startProxy, type TestProxy, until } from '../../support/proxy.ts'
import { requireSystem, startSshd } from '../../support/sshd.ts'
import { tempFolder } from '../../support/tree.ts'

const skip = requireSystem('sshd')
const MIB = 1_048_576
const HOUR_AGO = Math.floor(Date.now() / 1_000) - 3_600

interface Outcome extends CopyResult {
  copied: Copied[]
  errors: FileError[]
  restarts: number
  resumes: number
  /** What the machine's shell ran for checksums. */
  lines: string[]
}

type Way = 'up' | 'down'

interface Ground {
  proxy: TestProxy
  tunnel: TunnelService
  folder: string
  /** Copies within `folder`: up to the machine, or down from it. */
  run(
    way: Way,
    source: string,
    target: string,
    more?: Partial<CopyRequest>,
    onMoved?: () => void,
    change?: (sides: Sides) => Sides,
  ): Promise<Outcome>
}

type Sides = Pick<CopyRequest, 'from' | 'to'>

/** These files, of which some is done otherwise. */
function instead(files: Files, otherwise: Partial<Files>): Files {
  return new Proxy(files, {
    get(_, name: keyof Files) {
      const own = files[name]
      return otherwise[name] ?? (typeof own === 'function' ? own.bind(files) : own)
    },
  })
}

async function ground(t: TestContext, set: string[] = []): Promise<Ground> {
  const [sshd, proxy, folder] = await Promise.all([startSshd(t), startProxy(t, { set }), tempFolder(t)])
  await proxy.startAgent('home', 'alice', sshd)
  const tunnel = await proxy.connect('alice')
  async function run(
    way: Way,
    source: string,
    target: string,
    more: Partial<CopyRequest> = {},
    onMoved = (): void => {},
    change = (sides: Sides): Sides => sides,
  ): Promise<Outcome> {
    const lanes = new Lanes({
      open: () => tunnel.sftp('home'),
      patienceMs: 30_000,
      isOver: () => tunnel.state === 'closed',
    })
    const interrupted = (): void => lanes.interrupted()
    const lines: string[] = []
    const { signal = new AbortController().signal } = more
    tunnel.on('link-lost', interrupted)
    try {
      await lanes.begin()
      const far = new FarFiles('home', lanes)
      const checksums = new Checksums(async (line, stdin, abort = signal) => {
        lines.push(line)
        return String((await tunnel.exec('home', line, { signal: abort, ...(stdin && { stdin }) })).stdout)
      })
      const sides = change(way === 'up' ? { from: nearFiles, to: far } : { from: far, to: nearFiles })
      const heard = { copied: [] as Copied[], errors: [] as FileError[], restarts: 0 }
      const result = await copy(
        {
          ...{
            ...sides,
            checksums,
            sources: [join(folder, source)],
            target: join(folder, target),
            typedTarget: target,
          },
          ...{ intoFolder: false, recursive: true, preserve: false, signal },
          ...more,
        },
        {
          planned() {},
          began() {},
          checking() {},
          moved: onMoved,
          restarted: () => void heard.restarts++,
          copied: (_item, copied) => void heard.copied.push(copied),
          failed: (error) => void heard.errors.push(error as FileError),
        },
      )
      return { ...result, ...heard, lines, resumes: lanes.resumes }
    } finally {
      lanes.close()
    }
  }
  return { proxy, tunnel, folder, run }
}

/** Everything in a tree that a copy with -p keeps, by path. */
async function listing(folder: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  const walk = async (path: string): Promise<void> => {
    const stats = await fs.lstat(join(folder, path))
    const content = stats.isSymbolicLink()
      ? await fs.readlink(join(folder, path))
      : stats.isFile()
        ? await fs.readFile(join(folder, path), 'utf8')
        : ''
    const times = stats.isSymbolicLink() ? '' : Math.floor(stats.mtimeMs / 1_000)
    found[path] = `${(stats.mode & 0o7777).toString(8)} ${times} ${content}`
    if (stats.isDirectory())
      for (const name of await fs.readdir(join(folder, path))) await walk(join(path, name))
  }
  await walk('.')
  return found
}

test('copies with a machine', { skip }, async (t) => {
  const { folder, proxy, run } = await ground(t)
  const path = (name: string): string => join(folder, name)
  const write = async (name: string, bytes: Buffer | string): Promise<void> => {
    await fs.writeFile(path(name), bytes)
    await fs.utimes(path(name), HOUR_AGO, HOUR_AGO)
  }
  const big = randomBytes(5 * MIB + 7)
  const sum = createHash('sha256').update(big).digest('hex')
  await write('big', big)
  // More than may be under way at once.
  const large = randomBytes(SPREAD_BYTES + 2 * MIB)
  await write('large', large)

  for (const way of ['up', 'down'] as const) {
    await t.test(`a tree goes ${way} with its names, links, modes and times`, async () => {
      await fs.mkdir(path('tree/a b/leer'), { recursive: true })
      for (const name of [
        'a b/$(reboot) `x`',
        'a b/it\'s "so"',
        'a b/two\nlines',
        'ünï-日本',
        '-rf',
        '\\',
        'leer',
      ])
        await write(join('tree', name), `in ${name}`)
      await fs.symlink('../elsewhere', path('tree/link'))
      await fs.symlink('/etc', path('tree/a b/etc'))
      await fs.chmod(path('tree/-rf'), 0o640)
      await fs.chmod(path('tree/a b'), 0o750)
      const { errors, files, copied } = await run(way, 'tree', `tree-${way}`, { preserve: true })
      assert.deepEqual([errors, files], [[], 7])
      assert.deepEqual(await listing(path(`tree-${way}`)), await listing(path('tree')))
      assert.ok(copied.every(({ checked }) => checked === 'both sides'))
      await fs.rm(path('tree'), { recursive: true })
    })

    await t.test(
      `a file goes ${way}, also empty, into a folder, over another and through a link`,
      async () => {
        await write('empty', '')
        assert.equal(
          (await run(way, 'empty', `empty-${way}`)).copied[0]?.sha256,
          createHash('sha256').digest('hex'),
        )
        await fs.mkdir(path(`into-${way}`))
        await run(way, 'big', `into-${way}`)
        await fs.writeFile(path('old'), 'older and longer')
        await fs.symlink('old', path(`to-old-${way}`))
        const { copied } = await run(way, 'big', `to-old-${way}`)
        assert.deepEqual(
          copied.map(({ sha256, checked }) => [sha256, checked]),
          [[sum, 'both sides']],
        )
        assert.ok((await fs.readFile(path('old'))).equals(big))
        assert.ok((await fs.lstat(path(`to-old-${way}`))).isSymbolicLink())
        assert.deepEqual(await fs.readdir(path(`into-${way}`)), ['big'])
      },
    )

    await t.test(
      `cut ten times on its way ${way}, a file arrives whole, and the cuts are counted`,
      async () => {
        let moved = 0
        let cuts = 0
        const { copied, resumes } = await run(way, 'big', `cut-${way}`, {}, () => {
          moved++
          if (cuts >= 10 || moved < (cuts + 1) * 3) return
          cuts++
          proxy.cut('client')
        })
        assert.equal(copied[0]?.sha256, sum)
        assert.ok((await fs.readFile(path(`cut-${way}`))).equals(big))
        assert.ok(resumes >= 1 && resumes <= 10, String(resumes))
      },
    )

    await t.test(`what an earlier copy ${way} left in order is gone on with from its end`, async () => {
      const target = path(`rest-${way}${PART_SUFFIX}`)
      await fs.writeFile(target, big.subarray(0, 3 * MIB + 1))
      await fs.utimes(target, HOUR_AGO, HOUR_AGO)
      const { copied } = await run(way, 'big', `rest-${way}`)
      assert.deepEqual([copied[0]?.resumedFrom, copied[0]?.sha256], [3 * MIB + 1, sum])
      assert.ok((await fs.readFile(path(`rest-${way}`))).equals(big))
    })

    await t.test(`what is left of another file is noticed ${way}, and copied again`, async () => {
      const target = path(`other-${way}${PART_SUFFIX}`)
      await fs.writeFile(target, Buffer.alloc(4 * MIB))
      await fs.utimes(target, HOUR_AGO, HOUR_AGO)
      const { copied, restarts } = await run(way, 'big', `other-${way}`)
      assert.deepEqual([copied[0]?.resumedFrom, copied[0]?.sha256, restarts], [0, sum, 1])
      assert.ok((await fs.readFile(path(`other-${way}`))).equals(big))
    })

    await t.test(`a copy ${way} that is stopped leaves a part that says how far it came`, async () => {
      const abort = new AbortController()
      let moved = 0
      const { files, kept } = await run(way, 'large', `stop-${way}`, { signal: abort.signal }, () => {
        moved++
        if (moved === 5) abort.abort()
      })
      assert.equal(files, 0)
      const [part] = kept
      assert.equal(part?.part, path(`stop-${way}${PART_SUFFIX}`))
      const stats = await fs.stat(part?.part ?? '')
      assert.deepEqual([stats.size, Math.floor(stats.mtimeMs / 1_000)], [part?.bytes, HOUR_AGO])
      assert.ok((await fs.readFile(part?.part ?? '')).equals(large.subarray(0, stats.size)))
      await run(way, 'large', `stop-${way}`)
      assert.ok((await fs.readFile(path(`stop-${way}`))).equals(large))
    })

    await t.test(`a source that becomes shorter on its way ${way} is told, and nothing is left`, async () => {
      await write('shrinks', large)
      let moved = 0
      const truncate = (): void => {
        moved++
        if (moved === 2) execFileSync('truncate', ['-s', '300000', path('shrinks')])
      }
      const { errors } = await run(way, 'shrinks', `shrunk-${way}`, {}, truncate)
      assert.match(errors[0]?.message ?? '', /shrinks cannot be copied: it became shorter meanwhile$/)
      const left = (await fs.readdir(folder)).filter((name) => name.startsWith(`shrunk-${way}`))
      assert.deepEqual(left, [])
    })

    await t.test(`what cannot be copied ${way} is told one by one, and the rest is copied`, async () => {
      await fs.mkdir(path(`odd-${way}/sub`), { recursive: true })
      await write(`odd-${way}/good`, 'good')
      await write(`odd-${way}/x${PART_SUFFIX}`, 'left over')
      execFileSync('mkfifo', [path(`odd-${way}/fifo`)])
      await fs.writeFile(Buffer.concat([Buffer.from(path(`odd-${way}/`)), Buffer.from([0xff])]), '')
      await fs.mkdir(path(`got-${way}/odd-${way}/good`), { recursive: true })
      await fs.writeFile(path(`got-${way}/odd-${way}/sub`), 'no folder')
      const { errors, files, failures } = await run(way, `odd-${way}`, `got-${way}`)
      assert.deepEqual([files, failures], [0, 4])
      const told = errors.map(({ message }) => message.replaceAll(/home:|\S*odd-\w+\//g, '')).sort()
      assert.match(told.join('\n'), /fifo cannot be copied: it is not a file, folder or link/)
      assert.match(told.join('\n'), /good cannot be written: it is a folder/)
      assert.match(told.join('\n'), /sub cannot be made: /)
      assert.match(told.join('\n'), /its name is not UTF-8/)
    })
  }

  await t.test('a copy outlives a restart of the proxy, which its streams do not', async () => {
    let moved = 0
    let restarting: Promise<void> | undefined
    const { copied, resumes } = await run('up', 'big', 'restart', {}, () => {
      moved++
      if (moved === 10) restarting = proxy.restart()
    })
    await restarting
    assert.deepEqual([copied[0]?.sha256, resumes], [sum, 1])
    assert.ok((await fs.readFile(path('restart'))).equals(big))
  })

  await t.test(
    'a large file that is sent is summed up while it grows, also behind what was there',
    async () => {
      const huge = Buffer.concat([large, large.subarray(0, SPREAD_BYTES), big])
      await write('huge', huge)
      await fs.writeFile(path(`grown${PART_SUFFIX}`), huge.subarray(0, 3 * MIB))
      await fs.utimes(path(`grown${PART_SUFFIX}`), HOUR_AGO, HOUR_AGO)
      const { copied, lines } = await run('up', 'huge', 'grown')
      assert.deepEqual([copied[0]?.resumedFrom, copied[0]?.checked], [3 * MIB, 'both sides'])
      assert.deepEqual(
        lines.map((line) => line.includes('read n')),
        [true],
      )
      assert.ok((await fs.readFile(path('grown'))).equals(huge))
    },
  )

  await t.test('of two copies to one target at once one is made, and the other one is told', async () => {
    await write('small', 'small')
    for (const way of ['up', 'down'] as const) {
      const target = `both-${way}`
      let late: Promise<Outcome> | undefined
      let moved = 0
      let looked = (): void => {}
      const hasLooked = new Promise<void>((resolve) => {
        looked = resolve
      })
      const looks = ({ from, to }: Sides): Sides => ({
        from,
        to: instead(to, { linkInfo: (path) => to.linkInfo(path).finally(looked) }),
      })
      const begin = (): void => {
        if (++moved === 5) late = run(way, 'small', target, {}, undefined, looks).finally(looked)
      }
      // However long that one takes to begin, these do not end before.
      const waits = ({ from, to }: Sides): Sides => ({
        from: instead(from, {
          async openRead(path) {
            const end = await from.openRead(path)
            const read = async (offset: number, byteCount: number) => {
              if (moved >= 5) await hasLooked
              return end.read(offset, byteCount)
            }
            return {
              ...{ read, info: () => end.info(), close: () => end.close() },
              release: (bytes) => end.release?.(bytes),
            }
          },
        }),
        to,
      })
      const outcomes = await Promise.all([
        run(way, 'large', target, {}, begin, waits),
        run(way, 'large', target, {}, begin, waits),
      ])
      outcomes.push(await late!)
      assert.deepEqual(outcomes.map(({ files }) => files).sort(), [0, 0, 1])
      for (const { files, errors } of outcomes)
        if (files === 0)
          assert.match(
            errors[0]?.message ?? '',
            /both-\w+ cannot be written: another copy to it is under way$/,
          )
      assert.ok((await fs.readFile(path(target))).equals(large))
    }
  })

  await t.test('after an end without a word as much is copied again as may have holes', async () => {
    const holes = Buffer.from(large.subarray(0, SPREAD_BYTES + MIB))
    holes.fill(0, MIB)
    await fs.writeFile(path(`hole${PART_SUFFIX}`), holes)
    const { copied, restarts } = await run('up', 'large', 'hole')
    assert.deepEqual([copied[0]?.resumedFrom, restarts], [Math.floor(MIB / PIECE_BYTES) * PIECE_BYTES, 0])
    assert.ok((await fs.readFile(path('hole'))).equals(large))
  })

  await t.test('without a checksum nothing is gone on with that is not known to be right', async () => {
    await fs.writeFile(path(`blind${PART_SUFFIX}`), Buffer.alloc(SPREAD_BYTES + MIB))
    const { copied } = await run('up', 'large', 'blind', { checksums: undefined })
    assert.deepEqual([copied[0]?.resumedFrom, copied[0]?.checked], [0, 'not checked'])
    assert.ok((await fs.readFile(path('blind'))).equals(await fs.readFile(path('large'))))
  })

  await t.test('a target that is missing, a source that is, and a folder without -r are told', async () => {
    await assert.rejects(run('up', 'big', 'nowhere/', { intoFolder: true }), (error: Unfinished) => {
      assert.match(
        String((error.cause ?? error) as Error),
        /nothing can be copied into home:nowhere\/: there is no folder home:nowhere\/$/,
      )
      return true
    })
    const missing = await run('down', 'nothing', 'x')
    assert.match(missing.errors[0]?.message ?? '', /^home:.*nothing cannot be copied: there is no such file/)
    await fs.mkdir(path('plain'))
    const { errors } = await run('up', 'plain', 'x', { recursive: false })
    assert.match(errors[0]?.message ?? '', /plain cannot be copied: it is a folder, and -r was not given/)
  })

  await t.test('a link on this side is never written through', async () => {
    await fs.mkdir(path('evil/sub'), { recursive: true })
    await write('evil/sub/passwd', 'x')
    await fs.mkdir(path('outside'))
    await fs.mkdir(path('trap/evil'), { recursive: true })
    await fs.symlink(path('outside'), path('trap/evil/sub'))
    const { errors, files } = await run('down', 'evil', 'trap')
    assert.equal(files, 0)
    assert.match(errors[0]?.message ?? '', /sub cannot be made: it exists already/)
    assert.deepEqual(await fs.readdir(path('outside')), [])
  })

  await t.test('nothing is left at the proxy', async () => {
    await until(() => [...proxy.app.forward.overview.counts()].every(([, , count]) => count === 0))
  })
})

test('where commands are refused, what arrived is read back, and it is said why', { skip }, async (t) => {
  const rules = 'policy.rules=[{"effect":"deny","kinds":["exec"],"reason":"no commands"}]'
  const { folder, run } = await ground(t, [rules])
  const bytes = randomBytes(MIB)
  await fs.writeFile(join(folder, 'a'), bytes)
  for (const way of ['up', 'down'] as const) {
    const { copied, errors } = await run(way, 'a', `b-${way}`)
    assert.deepEqual([copied[0]?.checked, errors], ['read back', []])
    assert.ok((await fs.readFile(join(folder, `b-${way}`))).equals(bytes))
  }
})

test('a disk that is full or read-only, and a folder that nobody may write to, are said on either side', {
  skip: skip ?? (process.getuid?.() === 0 ? undefined : 'these can be made by root alone'),
}, async (t) => {
  const { folder, run } = await ground(t)
  const messages = async (way: Way, source: string, target: string): Promise<string[]> =>
    (await run(way, source, target)).errors.map(({ message }) => message)
  const small = join(folder, 'small')
  async function onSmallDisk(): Promise<void> {
    // The disk holds more than pieces may be ahead of the first one: what fails on it is never the first.
    await fs.writeFile(join(folder, 'a'), randomBytes(SPREAD_BYTES + 4 * MIB))
    for (const way of ['up', 'down'] as const) {
      await assert.rejects(run(way, 'a', 'small/a'), ({ cause, kept }: Unfinished) => {
        assert.match((cause as Error).message, /cannot be written: the disk is full$/)
        assert.ok((kept?.bytes ?? 0) > 0)
        return true
      })
      await fs.rm(join(small, `a${PART_SUFFIX}`))
    }
    execFileSync('mount', ['-o', 'remount,ro', small])
    await fs.mkdir(join(folder, 'tree'))
    for (const way of ['up', 'down'] as const) {
      assert.match(
        (await messages(way, 'a', 'small/a')).join(),
        /small\/a\S* cannot be written: the disk is read-only$/,
      )
      assert.match((await messages(way, 'tree', 'small')).join(), /the disk is read-only$/)
    }
  }

  await fs.mkdir(small)
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SPREAD_BYTES + 2 * MIB}`, 'tmpfs', small], {
      stdio: 'pipe',
    })
  } catch (error) {
    return t.skip(`no small disk can be made: ${(error as Error).message}`)
  }
  try {
    await onSmallDisk()
  } finally {
    execFileSync('umount', [small])
  }
  const locked = join(folder, 'locked')
  await fs.mkdir(locked)
  try {
    execFileSync('chattr', ['+i', locked], { stdio: 'pipe' })
  } catch (error) {
    return t.diagnostic(`no folder can be locked here: ${(error as Error).message}`)
  }
  try {
    for (const way of ['up', 'down'] as const)
      assert.match(
        (await messages(way, 'a', 'locked/a')).join(),
        /locked\/a\S* cannot be written: permission denied$/,
      )
  } finally {
    execFileSync('chattr', ['-i', locked])
  }
})
