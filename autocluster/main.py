"""The command line of autocluster."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time

from . import cluster as clusters
from . import demo, state
from .errors import ClusterError

EPILOG = """Faults: kill:DAEMON, stop:DAEMON (SIGSTOP), cont:DAEMON (SIGCONT), power-off, power-on, shutdown (in order); in namespaces also
unplug:INTERFACE and plug:INTERFACE (eth0 private, eth1 public, eth2 second private), deaf:NODE,... (hears nothing from these nodes), lose:PERCENT (of the packets
from and to it), hear (ends both), pause and resume (SIGSTOP and SIGCONT for everything on the node).
Example: autocluster up trial --nodes 3; autocluster exec trial 0 -- ctdb cluster status; autocluster down trial"""


class Say:
    """Progress for a person: time since the start, and what was done."""

    def __init__(self):
        self.begin = time.monotonic()

    def __call__(self, text):
        print(f"[{time.monotonic() - self.begin:5.1f} s] {text}", flush=True)


def cmd_up(args):
    say = Say()
    new = clusters.Cluster.new(args.name, args.nodes, args.mode, args.samba, args.arbitration, args.bindir, args.debian_ctdb,
                               tls=args.tls, two_addresses=args.two_addresses, env=args.env)
    new.up(say, args.timeout)
    print(f"cluster {args.name} is up. Look at it:  autocluster status {args.name}   Remove it:  autocluster down {args.name}")
    return 0


def cmd_down(args):
    if not clusters.down(args.name):
        print(f"there was no cluster {args.name}")
    return 0


def _become(argv, env):
    program = shutil.which(argv[0], path=env["PATH"])
    if not program:
        raise ClusterError(f"{argv[0]}: no such command")
    os.execve(program, argv, env)


def _command(args):
    words = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not words:
        raise ClusterError("give the command to run after '--'")
    return words


def cmd_exec(args):
    _become(*clusters.Cluster.open(args.name).node(args.node).command(_command(args)))


def cmd_client(args):
    _become(*clusters.Cluster.open(args.name).client_command(_command(args)))


def cmd_fault(args):
    clusters.Cluster.open(args.name).fault(args.node, args.fault)
    return 0


def cmd_partition(args):
    try:
        groups = [[int(pnn) for pnn in group.split(",")] for group in args.groups.split("/")]
    except ValueError:
        raise ClusterError(f"'{args.groups}' names no groups: write node numbers, for example 0,1/2") from None
    clusters.Cluster.open(args.name).partition(groups)
    return 0


def cmd_heal(args):
    clusters.Cluster.open(args.name).heal()
    return 0


def cmd_status(args):
    cluster = clusters.Cluster.open(args.name)
    config = cluster.config
    print(f"{args.name}: {config['nodes']} nodes, {config['mode']}, arbitration {config['arbitration']}{', samba' if config['samba'] else ''}")
    worst = 0
    for node in cluster.nodes:
        reason = node.waiting_for()
        worst = worst or (1 if reason else 0)
        address = ", ".join(node.addresses) + (f", public {cluster.public_address(node.pnn)}" if cluster.namespaces else "")
        print(f"node {node.pnn}  {address}  {'serves' if reason is None else 'does not serve: ' + reason}")
        if node.process:
            print(f"        runs {', '.join(sorted(node.program_list()))}")
    return worst


def cmd_logs(args):
    node = clusters.Cluster.open(args.name).node(args.node)
    directory = node.file("log")
    files = sorted(os.path.join(directory, name) for name in os.listdir(directory) if os.path.isfile(os.path.join(directory, name)))
    if args.follow:
        _become(["tail", "-F", *files], dict(os.environ))
    return subprocess.run(["tail", "-n", "+1", *files], check=False).returncode


def cmd_list(_args):
    for name in state.names():
        try:
            cluster = clusters.Cluster.open(name)
            print(f"{name}: {cluster.config['nodes']} nodes, {len(cluster.running())} on, {cluster.config['mode']}")
        except ClusterError as e:
            print(f"{name}: {e}")
    return 0


def cmd_demo(args):
    return demo.run(args.bindir, args.mode, args.keep)


def _positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


class _Environment(argparse.Action):
    """NODE:NAME=VALUE, any number of times."""

    def __call__(self, parser, namespace, text, _option=None):
        node, colon, assignment = text.partition(":")
        name, equals, value = assignment.partition("=")
        if not (node.isdigit() and colon and name and equals):
            parser.error(f"--env {text}: write NODE:NAME=VALUE")
        env = dict(getattr(namespace, self.dest) or {})
        env[int(node)] = {**env.get(int(node), {}), name: value}
        setattr(namespace, self.dest, env)


def _add_mode(parser):
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--netns", dest="mode", action="store_const", const="netns", help="nodes in namespaces of their own (root; default as root)")
    mode.add_argument("--loopback", dest="mode", action="store_const", const="loopback", help="nodes on loopback addresses (default if not root)")
    parser.add_argument("--bindir", help="directory of the programs (default: build/bin beside autocluster, or PATH)")


def _parser():
    parser = argparse.ArgumentParser(prog="autocluster", description="Virtual ctdb-ng clusters on this machine.", epilog=EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="verb", metavar="COMMAND", required=True)

    def add(verb, function, help_text, *positional):
        sub = commands.add_parser(verb, help=help_text, description=help_text)
        sub.set_defaults(function=function)
        for name in positional:
            kind = {"node": {"type": int}, "command": {"nargs": argparse.REMAINDER}}.get(name, {})
            sub.add_argument(name, metavar=name.upper(), **kind)
        return sub

    up = add("up", cmd_up, "make a cluster and wait until it serves", "name")
    up.add_argument("--nodes", type=_positive, default=3, help="number of nodes (default 3)")
    _add_mode(up)
    up.add_argument("--samba", action="store_true", help="run Debian's smbd on each node")
    arbitration = up.add_mutually_exclusive_group()
    arbitration.add_argument("--arbitration", choices=["majority", "none", "lock", "etcd"], default="majority",
                             help="who may go on after a split (default majority)")
    arbitration.add_argument("--lock", dest="arbitration", action="store_const", const="lock", help="arbitration by a lock file in the shared directory")
    arbitration.add_argument("--etcd", dest="arbitration", action="store_const", const="etcd", help="arbitration by an etcd that is started as well")
    up.add_argument("--no-tls", dest="tls", action="store_false", help="links without encryption (security = none); else a key is made")
    up.add_argument("--env", action=_Environment, metavar="NODE:NAME=VALUE", help="add a variable to the environment of a node's programs")
    up.add_argument("--two-addresses", action="store_true", help="give each node a second address: a back-up path between the nodes")
    up.add_argument("--debian-ctdb", metavar="DIR", help="run Debian's ctdbd, unpacked in DIR, to compare with")
    up.add_argument("--timeout", type=float, default=60, help="seconds until all nodes have to serve (default 60)")
    add("down", cmd_down, "remove a cluster", "name")
    add("exec", cmd_exec, "run a command on a node", "name", "node", "command")
    add("client", cmd_client, "run a command on the client, outside of the cluster", "name", "command")
    add("fault", cmd_fault, "do something bad to a node, or end it", "name", "node", "fault")
    add("partition", cmd_partition, "divide the private network: 0,1/2", "name", "groups")
    add("heal", cmd_heal, "join the private network again", "name")
    add("status", cmd_status, "what runs; exit status 0 if all nodes serve", "name")
    logs = add("logs", cmd_logs, "print the logs of a node", "name", "node")
    logs.add_argument("-f", "--follow", action="store_true", help="go on with what is added")
    add("list", cmd_list, "list the clusters of this user")
    show = add("demo", cmd_demo, "show what a cluster does, step by step")
    _add_mode(show)
    show.add_argument("--keep", action="store_true", help="leave the cluster up")
    return parser


def _terminate(number, _frame):
    raise SystemExit(128 + number)


def main(argv):
    args = _parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminate)
    try:
        return args.function(args)
    except ClusterError as e:
        print(f"autocluster: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("autocluster: interrupted", file=sys.stderr)
        return 130
