import { existsSync } from 'node:fs'
import { requireSystem } from '../support/system.ts'
import type { HostName, Scene } from './scene.ts'

export interface StockProgram {
  /** What is run, and how. */
  name: string
  /** Programs that Debian has, without which it is left out. */
  needs?: readonly string[]
  /** Files that are there no more than a program is. */
  needsFiles?: readonly string[]
  /** A script of alice's on the laptop, after `tunnel ssh-config --write`; it ends with 0 where all is right. */
  script: string
  /** What it has to say, on either output. */
  says?: RegExp
  /** What stands ready on another host. */
  before?: Partial<Record<HostName, string>>
}

/** For programs that do not read what ssh reads. */
const STDIO = 'tunnel stdio home'
const PYTHON = '/usr/bin/python3'
const SUM = 'cmp big back'
const FINGERPRINT = '$(ssh-keygen -l -F home.tunnel.tunnel.example.com.tunnel | grep -o "SHA256:[^ ]*")'

/**
 * Stock programs and the ways they use a connection, each against the machine that has no address. Nothing here is told
 * of the tunnel but what `tunnel ssh-config --write` has written, or `tunnel stdio` for those that read no such file.
 */
export const STOCK_PROGRAMS: readonly StockProgram[] = [
  {
    name: 'ssh: both outputs, stdin and the status',
    script: `printf in | ssh home 'cat; echo err >&2; exit 7' > out 2> err; test $? = 7 && test "$(cat out)" = in && test "$(cat err)" = err`,
  },
  { name: 'scp, both ways', script: `scp -q big home:big && scp -q home:big back && ${SUM}` },
  { name: 'scp -O, the old protocol', script: `scp -q -O big home:big && scp -q -O home:big back && ${SUM}` },
  {
    name: 'sftp with a batch',
    script: `printf 'put big\\nget big back\\nrm big\\n' | sftp -q -b - home > /dev/null && ${SUM}`,
  },
  {
    name: 'rsync, twice: the second time nothing is sent',
    needs: ['rsync'],
    script: `rsync -a tree home: && rsync -a -i tree home: | (! grep .) && rsync -a home:tree/ again && diff -r tree again`,
  },
  {
    name: 'git: clone, push, fetch',
    needs: ['git'],
    before: { machine: 'git init -q --bare -b main repository' },
    script: `git clone -q home:repository && cd repository && cp -r ../tree . && git add . && git -c user.name=a -c user.email=a@b commit -qm 1 && git push -q origin HEAD:main && git fetch && git ls-remote`,
    says: /refs\/heads\/main/,
  },
  {
    name: 'sshfs: write, read, unmount',
    needs: ['sshfs', 'fusermount3'],
    needsFiles: ['/dev/fuse'],
    script: `mkdir far && sshfs home: far && cp big far/big2 && cp far/big2 back && fusermount3 -u far && ${SUM} && ssh home rm big2`,
  },
  {
    name: 'Ansible: facts, and a file',
    needs: ['ansible'],
    script: `ansible all -i home, -T 60 -m copy -a "src=$PWD/tree/1 dest=by-ansible" && ssh home cat by-ansible`,
    says: /CHANGED|SUCCESS/,
  },
  {
    name: 'paramiko with ProxyCommand',
    needsFiles: ['/usr/lib/python3/dist-packages/paramiko'],
    script: `${PYTHON} - <<'END'
import paramiko
config = paramiko.SSHConfig.from_path('/home/alice/.ssh/config').lookup('home')
client = paramiko.SSHClient()
client.load_host_keys('/home/alice/.ssh/known_hosts')
client.connect(config['hostname'], username='alice', key_filename='/home/alice/.ssh/id_ed25519',
  sock=paramiko.ProxyCommand(config['proxycommand']))
print('on', client.exec_command('hostname')[1].read().decode())
client.open_sftp().put('big', 'by-paramiko')
client.close()
END
ssh home cat by-paramiko | cmp big -`,
    says: /on machine/,
  },
  {
    name: "asyncssh with ssh's own configuration",
    needsFiles: ['/usr/lib/python3/dist-packages/asyncssh'],
    script: `${PYTHON} - <<'END'
import asyncio, asyncssh
async def main():
  async with asyncssh.connect('home', config=['/home/alice/.ssh/config'], username='alice') as connection:
    print('on', (await connection.run('hostname')).stdout)
    await asyncssh.scp('big', (connection, 'by-asyncssh'))
asyncio.run(main())
END
ssh home cat by-asyncssh | cmp big -`,
    says: /on machine/,
  },
  {
    name: "PuTTY's plink",
    needs: ['plink', 'puttygen'],
    script: `puttygen ~/.ssh/id_ed25519 -o key.ppk && plink -batch -ssh -hostkey "${FINGERPRINT}" -i key.ppk -proxycmd '${STDIO}' alice@home hostname`,
    says: /^machine$/m,
  },
  {
    name: "PuTTY's psftp",
    needs: ['psftp', 'puttygen'],
    script: `puttygen ~/.ssh/id_ed25519 -o key.ppk && printf 'put big\\nget big back\\nquit\\n' | psftp -batch -hostkey "${FINGERPRINT}" -i key.ppk -proxycmd '${STDIO}' alice@home && ${SUM}`,
  },
  {
    name: "dropbear's dbclient",
    needs: ['dbclient', 'dropbearconvert'],
    script: `dropbearconvert openssh dropbear ~/.ssh/id_ed25519 key.dropbear && dbclient -y -J '${STDIO}' -i key.dropbear alice@home hostname`,
    says: /^machine$/m,
  },
  {
    name: 'lftp over sftp',
    needs: ['lftp'],
    script: `lftp -c "set sftp:connect-program 'ssh -a -x'; set net:max-retries 1; open -u alice, sftp://home; put big -o by-lftp; get by-lftp -o back" && ${SUM}`,
  },
  {
    name: 'restic: init, backup, restore',
    needs: ['restic'],
    script: `echo secret > password; for each in init 'backup tree' check 'restore latest --target out'; do restic -q -p password -r sftp:home:restic $each || exit; done; diff -r tree "$(find out -name tree)"`,
  },
  {
    name: 'borg: init, create, extract',
    needs: ['borg'],
    script: `borg init -e none home:borg2 && borg create home:borg2::one tree && mkdir out && cd out && borg extract home:borg2::one && diff -r ../tree tree`,
  },
  {
    name: 'autossh -M 0 with a forwarded port',
    needs: ['autossh'],
    script: `autossh -M 0 -f -N -o ExitOnForwardFailure=yes -L 18081:127.0.0.1:8080 home > /dev/null 2>&1; for i in $(seq 100); do curl -s http://127.0.0.1:18081/ && break; sleep 0.1; done`,
    says: /^a page of alice$/m,
  },
  {
    name: 'ControlMaster: two more sessions on one connection',
    script: `ssh -M -S control -f -N home > /dev/null 2>&1 && ssh -S control home hostname && ssh -S control home hostname && ssh -S control -O exit home 2>&1`,
    says: /^machine\nmachine\nExit request sent/m,
  },
  {
    name: '-J, the machine as the bastion of its own network',
    script: `ssh -J home -o HostKeyAlias=home.tunnel.tunnel.example.com.tunnel alice@127.0.0.1 hostname`,
    says: /^machine$/m,
  },
  {
    name: '-A, the agent of keys is there on the far side',
    script: `eval $(ssh-agent) > /dev/null && ssh-add -q ~/.ssh/id_ed25519 && ssh -A home ssh-add -l; kill $SSH_AGENT_PID`,
    says: /ED25519/,
  },
  {
    name: '-X, a window of the machine on the laptop',
    needs: ['Xvfb', 'xdpyinfo', 'xauth'],
    script: `Xvfb :7 -screen 0 640x480x8 > /dev/null 2>&1 & x=$!; export DISPLAY=:7; for i in $(seq 100); do xdpyinfo > /dev/null 2>&1 && break; sleep 0.1; done; ssh -X home xdpyinfo; kill $x`,
    says: /dimensions: +640x480/,
  },
  {
    name: '-R, a port of the laptop on the machine',
    script: `echo from-the-laptop > page; ${PYTHON} -m http.server -b 127.0.0.1 18082 > /dev/null 2>&1 & server=$!; ssh -o ExitOnForwardFailure=yes -R 18083:127.0.0.1:18082 home 'for i in $(seq 50); do curl -s http://127.0.0.1:18083/page && break; sleep 0.1; done'; kill $server`,
    says: /^from-the-laptop$/m,
  },
  {
    name: '-D, a page through SOCKS',
    script: `ssh -f -D 18084 -o ExitOnForwardFailure=yes home sleep 20 > /dev/null 2>&1 && curl -s --proxy socks5h://127.0.0.1:18084 http://localhost:8080/`,
    says: /^a page of alice$/m,
  },
  {
    name: '-W, bytes to another port',
    script: `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | ssh -W 127.0.0.1:8080 home`,
    says: /^a page of alice$/m,
  },
  {
    name: '-N -f -L, a port that stays',
    script: `ssh -N -f -o ExitOnForwardFailure=yes -L 18085:127.0.0.1:8080 home > /dev/null 2>&1 && curl -s http://127.0.0.1:18085/`,
    says: /^a page of alice$/m,
  },
  {
    name: '-tt with a full-screen program (vim), and the size of its window',
    needs: ['vim', 'script'],
    script: `echo 'call writefile([&lines . "x" . &columns], "screen") | q' | ssh home 'cat > size.vim' && script -qefc 'stty rows 33 cols 99; ssh -tt home vim -Nu NONE -S size.vim' typescript > /dev/null && ssh home cat screen && grep -c "\\[?1049h" typescript`,
    says: /^33x99$/m,
  },
  {
    name: '100 ssh at once, with the default settings',
    script: `seq 100 | xargs -P 100 -I{} ssh home echo n{} 2>errors | sort -u | wc -l; cat errors`,
    says: /^100$/m,
  },
]

/** Why one is left out here, or undefined. */
export function whyNotProgram({ needs = [], needsFiles = [] }: StockProgram): string | undefined {
  const missing = needsFiles.filter((file) => !existsSync(file))
  return requireSystem(...needs) ?? (missing.length > 0 ? `not installed: ${missing.join(', ')}` : undefined)
}

/** Files to move: 1 MiB that does not compress, and a tree. */
const GROUND =
  'head -c 1048576 /dev/urandom > big && mkdir -p tree/deep && echo one > tree/1 && echo two > tree/deep/2'
const TIMEOUT_MS = 180_000

/** Runs one in an empty folder with the files of `GROUND`; throws with what it said when it went wrong. */
export async function runProgram({ hosts }: Scene, program: StockProgram): Promise<void> {
  for (const [name, line] of Object.entries(program.before ?? {}))
    await hosts[name as HostName].must('alice', line)
  const line = `cd "$(mktemp -d)" && ${GROUND} && { ${program.script}\n}`
  const { code, signal, stdout, stderr } = await hosts.laptop.run('alice', line, {
    signal: AbortSignal.timeout(TIMEOUT_MS),
  })
  const said = stdout + stderr
  if (code !== 0) throw new Error(`${signal ?? `status ${code}`}\n${said}`)
  if (program.says && !program.says.test(said)) throw new Error(`it did not say ${program.says}:\n${said}`)
}
